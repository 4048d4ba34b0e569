"""Text files: plain or .gz, in the encoding that is named; what is none, or of another, is told to be that."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rpdr.errors import DataError
from rpdr.files.places import BLOCK, Source, opened

MARK = "\ufeff"  # of byte order
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


def read_text(path: Source, encoding: str = "utf-8") -> str:
    """The whole text of a plain or .gz file, without a mark of byte order. Raises DataError where it cannot be read, whatever the cause, is no text, or,
    naming the byte, not `encoding`."""
    return "".join(_parts(path, encoding))


def read_lines(path: Source, encoding: str = "utf-8") -> Iterator[str]:
    """`read_text` split at each newline, in the memory of a few lines."""
    rest = list[str]()  # what the last parts hold of a line that none of them ended
    for text in _parts(path, encoding):
        first, *others = text.split("\n")
        rest.append(first)
        if others:
            yield "".join(rest)
            yield from others[:-1]
            rest = others[-1:]
    yield "".join(rest)


def _parts(path: Source, encoding: str) -> Iterator[str]:
    """`read_text`, a block at a time."""
    decoder = codecs.getincrementaldecoder(encoding)()
    read, begun = 0, False
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
            yield text if begun else text.removeprefix(MARK)
            begun = begun or bool(text)
            if not block:
                break


@contextmanager
def _unpacked(path: Source) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """`opened`, of a .gz file what is packed in it. Raises DataError where it cannot be read, while in the block too."""
    try:
        with opened(path) as file:
            if path.suffix == ".gz":
                with gzip.open(file) as inside:
                    yield inside
            else:
                yield file
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); is the file whole, and of the kind its suffix says?") from error


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
