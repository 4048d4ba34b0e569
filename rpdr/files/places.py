"""Where files are, in a folder, a package or an object store, and how they are opened."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any

from rpdr.errors import DataError
from rpdr.remote import Remote, is_url, shown

BLOCK = 2**20  # bytes that are read at once
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


def unusable(error: OSError) -> str:
    """In a line, which file and why; empty where the error is of no file, as one of a network or of a closed pipe."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else ""
    return f"{name}: cannot be read or written ({error.strerror})" if name else ""
