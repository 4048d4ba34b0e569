"""How files are written: whole or not at all, by whoever is killed meanwhile."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UMASK = os.umask(0o077)  # it is only told where it is set
os.umask(_UMASK)
READABLE = 0o666 & ~_UMASK  # by whom the user lets files be read; a temporary one is its owner's alone
TEMPORARY = re.compile(r"\.(?P<of>.+)\.[a-z0-9_]{8}")  # a name as tempfile makes it, for `atomic_file` and `atomic_folder`


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to while in the block: temporary, in the same folder, then fsync and rename. Readers see the old one or the whole
    new one; where the block raises, the old one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, READABLE)
        os.replace(name, path)
        _sync(path.parent)  # the rename too
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None and error.errno in FULL:
            error.filename = str(path.parent)  # it tells no name, and is to be told with one
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to fill while in the block: temporary, beside `path`, then fsync and rename; it takes the place of a folder that is there.
    Where the block raises, that one stays and nothing else does; after a SIGKILL the temporary one too, whose name begins with a dot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as name:
        new, old = Path(name, "new"), Path(name, "old")
        new.mkdir()
        yield new
        for file in new.rglob("*"):
            if file.is_file():
                os.chmod(file, READABLE)
            _sync(file)
        if path.exists():
            os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            if old.exists():
                os.rename(old, path)
            raise
        _sync(path.parent)  # the rename too


def sweep(folder: Path) -> None:
    """Remove what writers of a folder, or of what is in it, left that were killed: the temporary files and folders of `atomic_file` and
    `atomic_folder`. Nobody else may be writing there, or keep files there."""
    beside = [path for path in folder.parent.glob(".*") if _to_be(path) == folder.name]
    for left in [*beside, *[path for path in folder.rglob(".*") if _to_be(path)]]:
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def sweep_files(folder: Path, ours: Callable[[str], object]) -> None:
    """Remove those that killed writers left in a folder itself, of files whose names are `ours`: others may keep theirs there."""
    for left in [path for path in folder.glob(".*") if (name := _to_be(path)) and ours(name)]:
        if left.is_file():
            left.unlink(missing_ok=True)


def _to_be(temporary: Path) -> str:
    """The name that a temporary file or folder was to have; empty for what is none."""
    found = TEMPORARY.fullmatch(temporary.name)
    return found["of"] if found else ""


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write through `atomic_file`."""
    with atomic_file(path) as file:
        write(file)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, with a final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_table(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    """Write a table as Parquet, atomically, cast to `schema`."""
    write_tables(path, [table], schema)


def write_tables(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write tables, one after the other, as one Parquet file, atomically, cast to `schema`; in the memory of one."""
    write_atomically(path, lambda file: put_tables(file, tables, schema))


def put_tables(file: IO[bytes], tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """What `write_tables` writes, into an open file."""
    with pq.ParquetWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(table.select(schema.names).cast(schema))


def read_tables(file: Path | pa.NativeFile) -> Iterator[pa.Table]:
    """A Parquet file in parts, in the memory of one. Raises pa.ArrowInvalid where it is something else, or was cut."""
    for batch in pq.ParquetFile(file).iter_batches():
        yield pa.Table.from_batches([batch])


def write_rows(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as Parquet, atomically, checked against `schema`."""
    write_table(path, pa.Table.from_pylist(rows, schema=schema), schema)


@contextmanager
def writing_rows(path: Path, schema: pa.Schema, rows_at_once: int = 2_000) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that adds a row to a Parquet file, in the memory of a few; the file is there when the block has ended well."""
    waiting: list[dict[str, Any]] = []
    with atomic_file(path) as file, pq.ParquetWriter(file, schema) as writer:

        def flush() -> None:
            if waiting:
                writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
                waiting.clear()

        def add(row: dict[str, Any]) -> None:
            waiting.append(row)
            if len(waiting) >= rows_at_once:
                flush()

        yield add
        flush()


def _sync(path: Path) -> None:
    """What stands in a file or folder is on disk after this."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
