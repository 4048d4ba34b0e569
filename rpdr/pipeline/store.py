"""Where linked shards go: a folder, or a place in an object store. In both a file is there whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from rpdr.errors import RunError
from rpdr.files import write_json, write_table
from rpdr.remote import connected, is_url, reached, shown
from rpdr.teacher.endpoint import is_local

SETTING = "link.output: "


class Store(Protocol):
    """Files by name, all in one place."""

    def names(self) -> set[str]:
        """Of all files that are there whole."""

    def read_json(self, name: str) -> Any:
        """What `write_json` wrote; None where there is no such file."""

    def write_json(self, name: str, value: Any) -> None:
        """In the place of what was there."""

    def read_table(self, name: str) -> pa.Table:
        """What `write_table` wrote."""

    def write_table(self, name: str, table: pa.Table, schema: pa.Schema) -> None:
        """As Parquet, in the place of what was there."""

    def remove(self, name: str) -> None:
        """A file that is there."""


def store_at(where: str | Path) -> Store:
    """A folder's path, or an object store's URL, as s3://bucket/folder. Raises RunError where it cannot be reached."""
    return Bucket(where) if isinstance(where, str) and is_url(where) else Folder(Path(where).expanduser())


def bucket_of(url: str) -> str:
    """The bucket of an object store's URL."""
    return urlsplit(url).hostname or ""


def may_leave(where: str, stores: Sequence[str]) -> bool:
    """Whether restricted text may be written there: into a folder, a store on this machine, or one of these buckets, to the letter."""
    if not is_url(where):
        return True
    server = dict(parse_qsl(urlsplit(where).query)).get("endpoint_override", "")
    return is_local(server if is_url(server) else f"http://{server}") or bucket_of(where) in stores


class Folder:
    """On a disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for left in path.glob(".shard-*"):  # by a start that was killed while it wrote
            left.unlink()

    def __str__(self) -> str:
        return str(self.path)

    def names(self) -> set[str]:
        return {file.name for file in self.path.glob("*") if file.is_file()}

    def read_json(self, name: str) -> Any:
        file = self.path / name
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def write_json(self, name: str, value: Any) -> None:
        write_json(self.path / name, value)

    def read_table(self, name: str) -> pa.Table:
        return pq.read_table(self.path / name)

    def write_table(self, name: str, table: pa.Table, schema: pa.Schema) -> None:
        write_table(self.path / name, table, schema)

    def remove(self, name: str) -> None:
        (self.path / name).unlink()


class Bucket:
    """In an object store, by a URL as rpdr/remote.py has it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, self._root = connected(url, RunError, SETTING)
        self._reached = partial(reached, url, RunError, SETTING)

    def __str__(self) -> str:
        return shown(self.url)

    def names(self) -> set[str]:
        with self._reached():
            found = self._files.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        return {info.base_name for info in found if info.is_file}

    def read_json(self, name: str) -> Any:
        if name not in self.names():
            return None
        with self._reached(), self._files.open_input_stream(f"{self._root}/{name}") as stream:
            return json.loads(stream.read())

    def write_json(self, name: str, value: Any) -> None:
        self._put(name, json.dumps(value, indent=2, ensure_ascii=False, default=str).encode() + b"\n")

    def read_table(self, name: str) -> pa.Table:
        with self._reached():
            return pq.read_table(f"{self._root}/{name}", filesystem=self._files)

    def write_table(self, name: str, table: pa.Table, schema: pa.Schema) -> None:
        whole = io.BytesIO()
        pq.write_table(table.select(schema.names).cast(schema), whole)
        self._put(name, whole.getbuffer())

    def remove(self, name: str) -> None:
        with self._reached():
            self._files.delete_file(f"{self._root}/{name}")

    def _put(self, name: str, whole: bytes | memoryview) -> None:
        """An object appears when its stream is closed, so it is all written by then."""
        with self._reached(), self._files.open_output_stream(f"{self._root}/{name}") as stream:
            stream.write(whole)
