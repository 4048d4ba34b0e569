"""Mentions in stand-off files, as CADEC has them: sct/X.ann beside text/X.txt, in a folder or a .tar.gz of one.

A row is `TT1<tab>267032009 | Tired | or 102498003 | Agony | 0 5;9 20<tab>the text`: `+` means all of, `or` alternatives.
"""

from __future__ import annotations

import os
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath
from tempfile import TemporaryFile, gettempdir

from rpdr.config import MentionsConfig
from rpdr.corpus.context import window
from rpdr.corpus.gold import gold_of
from rpdr.corpus.mention import RawMention
from rpdr.errors import DataError
from rpdr.files import Source, check_name, check_names, files_in, opened
from rpdr.files.texts import MARK
from rpdr.schema import Gold
from rpdr.tables.rejects import Reject, reject

SUFFIXES = {".ann", ".txt"}
Contents = Mapping[PurePosixPath, Callable[[], bytes]]  # of each .ann and .txt file, by its name, what reads it when its turn comes
# of a cell from its end to its start: the other way, each of a million blanks or digits would be a beginning to look on from
_BODY = re.compile(r"\s*(?P<spans>\d+ +\d+(?:;\d+ +\d+)*)[\s|]*(?P<concepts>.*)", re.DOTALL)
_CONCEPT = re.compile(r"(?:^|(?P<link>\+|\bor\b))\s*(?P<id>\d{5,18})(?=[\s|+]|$)")  # names may hold `+`, `or` and shorter numbers


def read(path: Source, config: MentionsConfig) -> Iterator[RawMention | Reject]:
    """Mentions and rejects, documents in order of name. Where there is a folder `sct`, only its .ann files are read.

    A document's id is its file's name, of several with the same that with its folders. A file that is not in config.encoding is read as cp1252. Raises DataError if nothing there is an .ann file.
    """
    with _contents(path) as contents:
        yield from _of(path, contents, config)


def _of(path: Source, contents: Contents, config: MentionsConfig) -> Iterator[RawMention | Reject]:
    annotations = sorted(name for name in contents if name.suffix == ".ann")
    annotations = [name for name in annotations if name.parent.name == "sct"] or annotations
    if not annotations:
        raise DataError(f"{path}: no .ann file in it; `standoff` reads a folder or a .tar.gz with sct/X.ann and text/X.txt")
    alike = Counter(name.stem for name in annotations)
    for name in annotations:
        doc_id = name.stem if alike[name.stem] == 1 else str(name.with_suffix(""))
        places = (name.with_suffix(".txt"), name.parent.parent / "text" / f"{name.stem}.txt")
        document = next((_text(contents[place](), config.encoding) for place in places if place in contents), None)
        for number, line in enumerate(_text(contents[name](), config.encoding).removeprefix(MARK).split("\n"), start=1):
            if not line.strip() or line.startswith("#"):  # `#`: an annotator's note
                continue
            try:
                yield _mention(f"{path}/{name}", number, line.removesuffix("\r"), doc_id, document, config)
            except ValueError as error:
                yield reject(f"{path}/{name}", number, str(error), line)


def _mention(file: str, number: int, line: str, doc_id: str, document: str | None, config: MentionsConfig) -> RawMention:
    """Raises ValueError, the reason for a reject, if the row does not have the form or does not fit its document."""
    cells = line.split("\t")
    if len(cells) != 3:
        raise ValueError(f"{len(cells)} tab-separated cells where id, concepts with offsets, and text are expected")
    body = _BODY.match(cells[1][::-1])
    if not body:
        raise ValueError("no offsets after the concepts")
    concepts, offsets = (body[name][::-1] for name in ("concepts", "spans"))
    context = None
    if document is not None:
        spans = sorted((int(start), int(end)) for start, end in (span.split() for span in offsets.split(";")))
        there = " ".join(document[start:end] for start, end in spans)
        if sorted(there.split()) != sorted(cells[2].split()):  # annotators reordered the parts of some discontiguous spans
            raise ValueError(f"at {offsets} the document has another text")
        context = window(document, spans[0][0], spans[-1][1])
    return RawMention(
        file=file,
        line=number,
        text=cells[2],
        id=f"{doc_id}:{cells[0]}",
        context=context,
        doc_id=doc_id,
        document=document,
        # else nobody reads it, and none of it costs a row
        gold=_gold(concepts.strip(), config.nil_values) if config.gold == "given" else None,
    )


def _gold(concepts: str, nil_values: tuple[str, ...]) -> Gold:
    if concepts in nil_values:
        return []
    alternatives: list[list[str]] = []
    for match in _CONCEPT.finditer(concepts):
        if match["link"] == "+" and alternatives:
            alternatives[-1].append(match["id"])
        else:
            alternatives.append([match["id"]])
    if not alternatives:
        raise ValueError("no concept id")
    return gold_of(alternatives, nil_values)


def files_of(folder: Source) -> dict[PurePosixPath, Source]:
    """The files of a folder, and of those in it, that are read. Raises DataError as `check_name`."""
    found = {name: file for name, file in files_in(folder, deep=True).items() if name.suffix in SUFFIXES}
    check_names(found.values())
    return found


@contextmanager
def _contents(path: Source) -> Iterator[Contents]:
    """Of a folder the files, of an archive what it holds, which is unpacked into one temporary file without a name."""
    if path.is_dir():
        yield {name: partial(_bytes, file) for name, file in files_of(path).items()}
        return
    with TemporaryFile() as unpacked:
        held: dict[PurePosixPath, Callable[[], bytes]] = {}
        try:
            for name, data in _members(path):
                held[name] = partial(os.pread, unpacked.fileno(), len(data), unpacked.tell())
                unpacked.write(data)
            unpacked.flush()
        except OSError as error:
            raise DataError(
                f"{path}: cannot be unpacked into {gettempdir()} ({error.strerror}); set TMPDIR to a folder with room for it"
            ) from error
        yield held


def _members(path: Source) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The .ann and .txt files of an archive."""
    try:
        with opened(path) as packed, tarfile.open(fileobj=packed) as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                part = archive.extractfile(member) if member.isfile() and name.suffix in SUFFIXES else None
                if part is not None:
                    check_name(PurePosixPath(str(path), name))
                    yield name, part.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: neither a folder nor a whole .tar.gz ({error}); download it again") from error


def _bytes(file: Source) -> bytes:
    with opened(file) as stream:
        return stream.read()


def _text(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
