"""Where linked shards go: a folder, or a place in an object store. In both a file is there whole or not at all."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from pyarrow import fs

from rpdr.errors import RunError
from rpdr.files import BLOCK, put_tables, read_tables, sweep_files, write_json, write_tables
from rpdr.remote import connected, is_url, reached, shown
from rpdr.teacher.endpoint import is_local

SETTING = "link.output: "
# readers of Parquet folders pass over names with an underscore
MANIFEST, REJECTED, PROBE = "_manifest.json", "_rejects.parquet", "_can-be-written.json"
IN_MEMORY = 64 * 2**20  # bytes of a file that is on its way into an object store; the rest waits on the disk


def store_at(where: str | Path) -> Store:
    """A folder's path, as file:///folder too, or an object store's URL, as s3://bucket/folder. Raises RunError where it cannot be reached."""
    if not (isinstance(where, str) and is_url(where)):
        return Folder(Path(where).expanduser())
    if _is_on_disk(where):  # Arrow writes there too, but under the last name from the first byte on
        return Folder(Path(connected(where, RunError, SETTING)[1]))
    return Bucket(where)


def shard_file(shard: int) -> str:
    """The name of a shard's file."""
    return f"shard-{shard:06d}.parquet"


def is_ours(name: str) -> bool:
    """Whether linking writes files of this name."""
    return name in (MANIFEST, REJECTED) or re.fullmatch(r"shard-\d{6,}\.parquet", name) is not None


def _is_on_disk(url: str) -> bool:
    return urlsplit(url).scheme == "file"


def bucket_of(url: str) -> str:
    """The bucket of an object store's URL."""
    return urlsplit(url).hostname or ""


def may_leave(where: str, stores: Sequence[str]) -> bool:
    """Whether restricted text may be written there: into a folder, a store on this machine, or one of these buckets, to the letter."""
    if not is_url(where) or _is_on_disk(where):
        return True
    server = dict(parse_qsl(urlsplit(where).query)).get("endpoint_override", "")
    return is_local(server if is_url(server) else f"http://{server}") or bucket_of(where) in stores


class Folder:
    """Files by name, all in one place on a disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def names(self) -> set[str]:
        """Of all files that are there."""
        return {file.name for file in self.path.glob("*") if file.is_file()}

    def read_json(self, name: str) -> Any:
        """What `write_json` wrote; None where there is no such file, or something else."""
        file = self.path / name
        return _parsed(file.read_bytes()) if file.exists() else None

    def write_json(self, name: str, value: Any) -> None:
        """In the place of what was there."""
        write_json(self.path / name, value)

    def read_tables(self, name: str) -> Iterator[pa.Table]:
        """What `write_tables` wrote, in parts; none where the file is something else, or was cut."""
        return _whole(self.path / name)

    def write_tables(self, name: str, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
        """As one Parquet file, in the place of what was there; in the memory of one table."""
        write_tables(self.path / name, tables, schema)

    def remove(self, name: str) -> None:
        """A file that is there."""
        (self.path / name).unlink()

    def check_writable(self) -> None:
        """Raises RunError where nothing can be written there."""
        try:
            self.write_json(PROBE, {})
            self.remove(PROBE)
        except OSError as error:
            raise RunError(f"{self}: cannot be written ({error.strerror})") from error

    def sweep(self) -> None:
        """Remove what killed writers left. Nobody else may be writing there."""
        sweep_files(self.path, is_ours)


class Bucket:
    """The same in an object store, by a URL as rpdr/remote.py has it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, self._root = connected(url, RunError, SETTING)
        self._reached = partial(reached, url, RunError, SETTING)

    def __str__(self) -> str:
        return shown(self.url)

    def names(self) -> set[str]:
        with self._reached():
            found = self._files.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        if not found and self._has_no_bucket():
            raise RunError(f"{SETTING}{self}: there is no bucket of this name; make it, or mend the URL")
        return {info.base_name for info in found if info.is_file}

    def _has_no_bucket(self) -> bool:
        """Whether the store says so: who may write into a folder need not be allowed to look at the bucket."""
        try:
            return bool(self._files.get_file_info(self._root.split("/")[0]).type == fs.FileType.NotFound)
        except OSError:
            return False

    def read_json(self, name: str) -> Any:
        if name not in self.names():
            return None
        with self._reached(), self._files.open_input_stream(f"{self._root}/{name}") as stream:
            return _parsed(stream.read())

    def write_json(self, name: str, value: Any) -> None:
        self._put(name, io.BytesIO(json.dumps(value, indent=2, ensure_ascii=False, default=str).encode() + b"\n"))

    def read_tables(self, name: str) -> Iterator[pa.Table]:
        with self._reached(), self._files.open_input_file(f"{self._root}/{name}") as file:
            yield from _whole(file)

    def write_tables(self, name: str, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
        with SpooledTemporaryFile(IN_MEMORY) as whole:
            put_tables(whole, tables, schema)
            whole.seek(0)
            self._put(name, whole)

    def remove(self, name: str) -> None:
        with self._reached():
            self._files.delete_file(f"{self._root}/{name}")

    def check_writable(self) -> None:
        self.write_json(PROBE, {})
        with suppress(RunError):  # who may write need not be allowed to delete
            self.remove(PROBE)

    def sweep(self) -> None:
        """Nothing: an object is there whole or not at all."""

    def _put(self, name: str, whole: IO[bytes]) -> None:
        """Write an object, in a thread that no signal interrupts, and wait for it: Arrow closes a stream that is dropped while it is opened, and an
        empty object would take the place of what was there."""
        with self._reached(), ThreadPoolExecutor(1) as apart:
            apart.submit(self._upload, name, whole).result()

    def _upload(self, name: str, whole: IO[bytes]) -> None:
        """An object appears when its stream is closed, so it is all written by then."""
        with self._files.open_output_stream(f"{self._root}/{name}") as stream:
            shutil.copyfileobj(whole, stream, BLOCK)


Store = Folder | Bucket


def _parsed(text: bytes) -> Any:
    """JSON; None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _whole(file: Path | pa.NativeFile) -> Iterator[pa.Table]:
    """`read_tables`; none where the file is no Parquet, or was cut."""
    with suppress(pa.ArrowInvalid):
        yield from read_tables(file)
