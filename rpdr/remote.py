"""Objects in an object store, by a URL that Arrow knows (s3://, gs://, abfs://): found, listed and opened. What they hold is others' business.

Credentials come from the environment; a server of one's own is `s3://bucket/folder?scheme=http&endpoint_override=localhost:9000`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Literal, cast
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from pyarrow import fs

from rpdr.errors import DataError, RpdrError

_PASSWORD = re.compile(r"(://[^/:@]*):.*@")  # which may hold anything
_QUERY = re.compile(r"\?[^\s'\"]+")  # of any URL in a message: Arrow tells Azure's own, with the token in it
# parameters of a URL, as Arrow reads them: any other may be a secret, or a part of one, as `sig` of Azure's tokens
_HARMLESS = (
    *("scheme", "endpoint_override", "region", "allow_bucket_creation", "allow_bucket_deletion", "allow_delayed_open", "smart_defaults"),
    *("tls_ca_file_path", "tls_verify_certificates", "project_id", "retry_limit_seconds", "background_writes", "enable_tls"),
    *("blob_storage_authority", "dfs_storage_authority", "credential_kind", "tenant_id", "client_id"),
)
AHEAD = 8 * 2**20  # bytes that are asked for at once where a file is read from its start: each asking is a request


def is_url(where: str) -> bool:
    """Whether this names a place in an object store, not on a disk."""
    return "://" in where


def shown(url: str) -> str:
    """A URL as logs and errors may have it: its query may hold a key, and what stands before its host a password. A path is shown as it is."""
    if not is_url(url):
        return url
    return _PASSWORD.sub(r"\1@", url).partition("?")[0]


@contextmanager
def reached(url: str, kind: type[RpdrError], setting: str = "") -> Iterator[None]:
    """What Arrow raises in the block, as an error of this kind: one line with the URL, the cause and a remedy."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        why = " ".join(_QUERY.sub("", str(error).replace(url, shown(url))).split())[:300]
        raise kind(
            f"{setting}{shown(url)}: cannot be used ({why}); check the URL, and the credentials in the environment "
            "(for s3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE)"
        ) from error


def refuse_secret(url: str, kind: type[RpdrError], setting: str = "") -> None:
    """Raises an error of this kind where the URL has, or may have, a secret in it, which would stand in the run's config.yaml."""
    if is_url(url) and (_PASSWORD.search(url) or any(name not in _HARMLESS for name, _ in parse_qsl(url.partition("?")[2]))):
        remedy = "take it out, and give secrets in the environment (for s3: AWS_SECRET_ACCESS_KEY)"
        raise kind(f"{setting}{shown(url)}: has a secret in it, or a parameter that is none of {', '.join(_HARMLESS)}; {remedy}")


def refuse_more_than_an_address(url: str, kind: type[RpdrError], setting: str, remedy: str = "take it out") -> None:
    """Raises an error of this kind where the URL of a server has, or may have, a secret in it; none of the URL is shown."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise kind(f"{setting}: is no URL ({error}); mend it") from None
    found = "a user or password" if "@" in parts.netloc else "a query" if parts.query else "a fragment" if parts.fragment else ""
    if found:
        raise kind(f"{setting}: the URL has {found} in it, which may be a secret, and would stand in the run's records; {remedy}")


def connected(url: str, kind: type[RpdrError], setting: str = "") -> tuple[fs.FileSystem, str]:
    """(filesystem, path in it). Raises an error of this kind, also where the URL has a secret in it."""
    refuse_secret(url, kind, setting)
    with reached(url, kind, setting):
        files, path = fs.FileSystem.from_uri(url)
    return files, path.rstrip("/")


class Remote:
    """An object, or a folder of objects, as it was when it was found. Its text is its URL, without what may be secret in it."""

    def __init__(self, url: str, files: fs.FileSystem, info: fs.FileInfo) -> None:
        self._url, self._files, self._info = url, files, info

    @classmethod
    def find(cls, url: str) -> Remote:
        """Raises DataError where the store cannot be reached or has nothing there."""
        files, path = connected(url, DataError)
        with reached(url, DataError):
            info = files.get_file_info(path)
        if info.type == fs.FileType.NotFound:
            raise DataError(f"{shown(url)}: no such object, folder or bucket; check the URL")
        return cls(url, files, info)

    def __str__(self) -> str:
        return shown(self._url)

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return str(self._info.base_name)

    @property
    def stamp(self) -> dict[str, Any]:
        """Its size and time."""
        return {"size": self._info.size, "mtime_ns": self._info.mtime_ns}

    @property
    def suffix(self) -> str:
        """As of a path."""
        return PurePosixPath(self.name).suffix

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return bool(self._info.type == fs.FileType.Directory)

    def objects(self, deep: bool = False) -> dict[PurePosixPath, Remote]:
        """Of a folder, by their names in it, in order of name; `deep`: those of the folders in it too. Raises DataError."""
        place, mark, query = self._url.partition("?")
        named = sorted((PurePosixPath(info.path).relative_to(self._info.path), info) for info in self._inside(deep) if info.is_file)
        return {name: Remote(f"{place.rstrip('/')}/{name}{mark}{query}", self._files, info) for name, info in named}

    def folders(self) -> list[str]:
        """The names of the folders in a folder. Raises DataError."""
        return [info.base_name for info in self._inside() if info.type == fs.FileType.Directory]

    def _inside(self, deep: bool = False) -> list[fs.FileInfo]:
        with reached(self._url, DataError):
            return list(self._files.get_file_info(fs.FileSelector(self._info.path, recursive=deep)))

    def open(self, mode: Literal["rb"], buffering: int = AHEAD) -> BinaryIO:
        """As of a path; `buffering` 0: each read asks for just that. Raises DataError, as each read does."""
        with reached(self._url, DataError):
            raw = _Object(self._url, self._files.open_input_file(self._info.path))
        return cast(BinaryIO, io.BufferedReader(raw, buffering) if buffering else raw)

    def check_unchanged(self) -> None:
        """Raises DataError if another object has taken its place since it was found: what was read may be of both."""
        with reached(self._url, DataError):
            now = self._files.get_file_info(self._info.path)
        if (now.size, now.mtime) != (self._info.size, self._info.mtime):
            raise DataError(f"{self}: has changed while it was read; start again when nobody writes to it")


class _Object(io.RawIOBase):
    """An open object whose errors are ours."""

    def __init__(self, url: str, file: pa.NativeFile) -> None:
        self._url, self._file = url, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with reached(self._url, DataError):
            return int(self._file.readinto(buffer))

    def close(self) -> None:
        self._file.close()
        super().close()
