"""Where files are, how they are opened, hashed and written: the only place that does any of the four."""

from __future__ import annotations

import codecs
import errno
import gzip
import hashlib
import importlib.util
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rpdr.errors import DataError
from rpdr.remote import Remote, is_url, shown

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
BLOCK = 2**20  # bytes that are read at once
_UMASK = os.umask(0o077)  # it is only told where it is set
os.umask(_UMASK)
READABLE = 0o666 & ~_UMASK  # by whom the user lets files be read; a temporary one is its owner's alone
_TEMPORARY = re.compile(r"\.(?P<of>.+)\.[a-z0-9_]{8}")  # a name as tempfile makes it, for `atomic_file` and `atomic_folder`
WESTERN = {"iso8859-1", "iso8859-15", "cp1252"}
MANY = 20  # runs of letters, which are of two by chance no longer
_CONTROLS = re.compile("[\x80-\x9f]")
_NOT_ASCII = re.compile("[^\x00-\x7f]+")
BEGINS = {  # PAR1 alone is a gene, too
    "xls": b"\xd0\xcf\x11\xe0",
    "zip": b"PK\x03\x04",
    "gzip": b"\x1f\x8b",
    "parquet": b"PAR1\x15",
    "pdf": b"%PDF-",
    "zstd": b"\x28\xb5\x2f\xfd",
    "bzip2": b"BZh91AY&SY",
    "xz": b"\xfd7zXZ\x00",
}
WORKBOOKS = {".xlsx", ".xlsm"}  # which are ZIP archives
LONGEST = max(map(len, BEGINS.values()))
REMEDIES = {
    "xls": "an Excel workbook; save it as CSV UTF-8 (or Parquet)",
    "zip": "a ZIP archive; unpack it, and name the file inside",
    "gzip": "packed with gzip; end its name in .gz",
    "parquet": "a Parquet file; end its name in .parquet",
    "pdf": "a PDF; save its text, a row a line",
    **{kind: f"packed with {kind}; unpack it, or pack it with gzip" for kind in ("zstd", "bzip2", "xz")},
}
KEPT = {"_delta_log": "Delta", ".hoodie": "Hudi"}  # in the folder of a table of such a kind: which of its files' rows still count
RELATIVE = "a relative path begins in the folder that the command is started in"
Source = Path | Remote  # what is read of the world: on a disk, or in an object store


def locate(where: str) -> Path:
    """The local path of `where`: a path (`~` and `${VARIABLE}` expanded) or `package:NAME/sub/path` inside an installed package.

    Raises DataError if a variable is unset, the package is not installed, nothing is there, or `check_name` does.
    """
    if where.startswith("package:"):
        package, _, rest = where.removeprefix("package:").partition("/")
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):  # a part of a package that is not installed; no name at all
            spec = None
        if spec is None or not spec.submodule_search_locations:
            raise DataError(f"{where}: the Python package {package} is not installed (`make setup` installs what the examples use)")
        path = Path(spec.submodule_search_locations[0]) / rest
    else:
        path = Path(os.path.expanduser(expanded(where)))
    check_name(path)
    if not path.exists():
        raise DataError(f"{where}: no such file or folder (looked at {path.absolute()}{'' if path.is_absolute() else f'; {RELATIVE}'})")
    return path


def expanded(where: str) -> str:
    """With each `${VARIABLE}` as the environment has it. Raises DataError where it has none."""
    return re.sub(r"\$\{(\w+)\}", lambda m: _variable(m.group(1), where), where)


def _variable(name: str, where: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise DataError(f"{shown(where)}: set the environment variable {name} to the folder that it stands for")
    return value


def check_name(path: PurePath) -> None:
    """Raises DataError where a path is no UTF-8: neither a table nor a log can hold it."""
    if (legible := _legible(path)) != str(path):
        raise DataError(f"{legible}: this name is no UTF-8; rename it")


def check_names(files: Iterable[Source]) -> None:
    """`check_name`, of those on a disk."""
    for file in files:
        if isinstance(file, Path):
            check_name(file)


def _legible(name: str | PurePath) -> str:
    """With the bytes escaped that are no UTF-8."""
    return os.fsencode(name).decode(errors="backslashreplace")


def home() -> Path:
    """Where rpdr keeps what belongs to no run directory: $RPDR_HOME, or ~/.rpdr."""
    return Path(os.environ.get("RPDR_HOME") or Path.home() / ".rpdr")


def locate_source(where: str) -> Source:
    """`locate`, or, by its URL, an object or folder of an object store (`${VARIABLE}` expanded). Raises DataError."""
    place = expanded(where)  # first, as a variable may hold a bucket's whole URL
    return Remote.find(place) if is_url(place) else locate(where)


def locate_all(where: str) -> list[Source]:
    """`locate_source`, or the files that a pattern stands for (`parts/*.parquet`) where it is no file's own name, or those in a folder but for names
    with a first dot or underscore, in order of name. Raises DataError where there is none, or the folder has folders in it, or is that of a table whose
    files hold rows that it does not."""
    place, mark, query = where.partition("?") if is_url(expanded(where)) else (where, "", "")
    folder, root, pattern = place.rpartition("/")
    if any(sign in pattern for sign in "*?[") and not _is_there(where):
        source = locate_source((folder or root or ".") + mark + query)
        _refuse_table(source, shown(where))
        found = [file for file in files_in(source).values() if fnmatchcase(file.name, pattern)]
    elif (source := locate_source(where)).is_dir():
        _refuse_table(source, shown(where))
        _refuse_folders_in(source, shown(where))
        found = [*files_in(source).values()]
    else:
        return [source]
    files = [file for file in found if file.name[0] not in "._"]
    check_names(files)
    if not files:
        raise DataError(f"{shown(where)}: no file there")
    return files


def _is_there(where: str) -> bool:
    try:
        locate_source(where)
    except DataError:
        return False
    return True


def _refuse_table(folder: Source, where: str) -> None:
    """Raises DataError where a folder is that of a table whose files hold rows that were deleted or overwritten, too."""
    names = _folders_in(folder)
    kind = next((kind for name, kind in KEPT.items() if name in names), None)
    if (
        not kind
        and {"data", "metadata"} <= set(names)
        and any(name.match("metadata/*.metadata.json") for name in files_in(folder, deep=True))
    ):
        kind = "Iceberg"
    if kind:
        remedy = "write what it holds now as plain Parquet, and name that"
        raise DataError(f"{where}: the folder of a table ({kind}), whose files hold rows that were deleted or overwritten, too; {remedy}")


def _refuse_folders_in(folder: Source, where: str) -> None:
    """Raises DataError where files would be passed over that lie deeper."""
    deeper = sorted(name for name in _folders_in(folder) if name[0] not in "._")
    if deeper:
        remedy = f"name each folder as a source of its own, and the files beside them as {where.rstrip('/')}/*"
        raise DataError(f"{where}: there are folders in it ({', '.join(map(_legible, deeper[:3]))}), which are not read; {remedy}")


def _folders_in(folder: Source) -> list[str]:
    return folder.folders() if isinstance(folder, Remote) else [path.name for path in folder.iterdir() if path.is_dir()]


def files_in(folder: Source, deep: bool = False) -> dict[PurePosixPath, Source]:
    """The files of a folder by their names in it, in order of name; `deep`: those of the folders in it too."""
    if isinstance(folder, Remote):
        return {**folder.objects(deep)}
    found = (file for file in (folder.rglob("*") if deep else folder.iterdir()) if file.is_file())
    return {PurePosixPath(file.relative_to(folder).as_posix()): file for file in sorted(found)}


def stamp_of(path: Source) -> dict[str, Any]:
    """Its `size` in bytes and its time, `mtime_ns`."""
    if isinstance(path, Remote):
        return path.stamp
    found = path.stat()
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


@contextmanager
def opened(path: Source) -> Iterator[IO[bytes]]:
    """The bytes of a file, to be read in the block. Raises DataError if it is an object that has changed meanwhile."""
    with path.open("rb") as file:
        yield file
    if isinstance(path, Remote):
        path.check_unchanged()


@contextmanager
def _unpacked(path: Source) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """`opened`, of a .gz file what is packed in it."""
    with opened(path) as file:
        if path.suffix == ".gz":
            with gzip.open(file) as inside:
                yield inside
        else:
            yield file


def read_text(path: Source, encoding: str = "utf-8") -> str:
    """The whole text of a plain or .gz file. Raises DataError where it is no text, or, naming the byte, not `encoding`."""
    with _unpacked(path) as file:
        raw = file.read()
    _check_kind(path, encoding, raw[:LONGEST])
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise _not_encoded(path, encoding, error.start) from error
    _check_letters(path, encoding, text, 0)
    return text


def read_lines(path: Source, encoding: str = "utf-8") -> Iterator[str]:
    """`read_text` split at each newline, in the memory of a few lines."""
    decoder = codecs.getincrementaldecoder(encoding)()
    rest, read = list[str](), 0  # what the last blocks hold of a line that none of them ended
    with _unpacked(path) as file:
        while True:
            block = file.read(BLOCK)
            if not read:
                _check_kind(path, encoding, block[:LONGEST])
            start = read - len(decoder.getstate()[0])  # of a character that the last block cut in two
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise _not_encoded(path, encoding, start + error.start) from error
            except UnicodeError as error:  # of UTF-16 and UTF-32, which want a mark of byte order
                raise DataError(f"{path}: not {encoding} ({error}); set `encoding: {encoding}-le` for this file, or -be") from error
            _check_letters(path, encoding, text, read)
            read += len(block)
            first, *others = text.split("\n")
            rest.append(first)
            if others:
                yield "".join(rest)
                yield from others[:-1]
                rest = others[-1:]
            if not block:
                break
    yield "".join(rest)


def unusable(error: OSError) -> str:
    """In a line, which file and why; empty where the error is of no file, as one of a network or of a closed pipe."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else ""
    return f"{name}: cannot be read or written ({error.strerror})" if name else ""


def _check_kind(path: Source, encoding: str, begins: bytes) -> None:
    """Raises DataError where a file begins as one that holds no text does, or text of another encoding: some encodings take any byte."""
    kind = next((kind for kind, first in BEGINS.items() if begins.startswith(first)), None)
    if kind == "parquet" and path.suffix == ".parquet":
        raise DataError(f"{path}: a Parquet file; set `format: table`")
    if kind:
        raise DataError(f"{path}: {REMEDIES['xls' if kind == 'zip' and path.suffix.lower() in WORKBOOKS else kind]}")
    if begins[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and not codecs.lookup(encoding).name.startswith("utf-16"):
        raise DataError(f"{path}: UTF-16, not {encoding}; set `encoding: utf-16` for this file")


def _check_letters(path: Source, encoding: str, text: str, start: int) -> None:
    """Raises DataError where a text, decoded from byte `start` on, is of another encoding than this one, which takes nearly any byte: it holds controls of
    ISO 8859 where others have letters, or, in a western encoding, what is not ASCII is UTF-8, or many different twos of characters, as where two bytes are
    one."""
    name = codecs.lookup(encoding).name
    if name.startswith("iso8859") and (found := _CONTROLS.search(text)):
        raise _not_encoded(path, encoding, start + found.start())  # there a character is a byte
    if name in WESTERN:
        runs = _NOT_ASCII.findall(text)
        in_twos = len(set(runs)) >= MANY and sum(len(run) % 2 for run in runs) < len(runs) / 10
        if in_twos or (len(runs) >= MANY and sum(_is_utf8(run.encode(encoding)) for run in runs) > len(runs) * 0.9):
            remedy = "set `encoding: utf-8` for this file, or gb18030 where it is Chinese"
            raise DataError(f"{path}: not {encoding}: what is not ASCII comes in twos, as where two bytes are one character; {remedy}")


def _is_utf8(bytes_there: bytes) -> bool:
    try:
        bytes_there.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _not_encoded(path: Source, encoding: str, byte: int) -> DataError:
    return DataError(f"{path}: not {encoding} at byte {byte}; set `encoding:` for this file (e.g. cp1252, or gb18030 for Chinese)")


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
    found = _TEMPORARY.fullmatch(temporary.name)
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


def sha256(*parts: Any) -> str:
    """One hash for everything that is compared by content: bytes as they are, other values as canonical JSON. 64 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, ensure_ascii=False, default=str).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def sha256_tree(path: Path, without: str = "") -> str:
    """Content hash of a file, or of a folder's files with their relative names but those that match `without`; what killed writers left there is
    none of them."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and not _TEMPORARY.fullmatch(p.name))
    for file in files:
        if without and file.relative_to(path).match(without):
            continue
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()
