"""From MentionsConfigs to mentions: read every source, filter, split, clean and key; what cannot be used becomes a reject."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from rpdr import files
from rpdr.config import MentionsConfig
from rpdr.corpus import concept_names, jsonl, pubtator, standoff, table
from rpdr.corpus.abbreviations import definitions, written_out
from rpdr.corpus.context import Hidden, given_context, hidden_in
from rpdr.corpus.fields import not_read
from rpdr.corpus.gold import KnownConcepts
from rpdr.corpus.ids import UniqueIds
from rpdr.corpus.mention import Mention, RawMention
from rpdr.corpus.normalise import MAX_CHARS, clean, mention_key, tidied
from rpdr.corpus.splits import GoldSplits, Splits, is_kept
from rpdr.errors import DataError
from rpdr.files import Source
from rpdr.remote import shown
from rpdr.schema import ASKED, Gold
from rpdr.tables.rejects import Reject, reject
from rpdr.tables.rows import EmptyFile, open_parquet

_READERS: dict[str, Callable[[Source, MentionsConfig], Iterator[RawMention | Reject]]] = {
    "table": table.read,
    "jsonl": jsonl.read,
    "pubtator": pubtator.read,
    "standoff": standoff.read,
    "concept_names": concept_names.read,
}

_NAMES: dict[str, Callable[[Source, MentionsConfig], Sequence[str]]] = {"table": table.names, "jsonl": jsonl.names}

ONE_PHRASE = "a row is one phrase that was found, and the text of a note belongs in its `context`"


def stream_mentions(
    sources: Sequence[MentionsConfig],
    seed: int,
    known: KnownConcepts | None = None,
    defining: Callable[[str], str] = str,
    given_gold: Sequence[GoldSplits] = (),
    identified: Callable[[str], Sequence[Hidden]] | None = None,
) -> Iterator[Mention | Reject]:
    """The mentions of all sources in order, and the rows that could not be used (dicts of schema.REJECTS), each as it is read: of a source
    without `repeat` only a number a mention is remembered.

    `seed` drives `repeat` alone; `known` brings gold to ids of the knowledge base, without it gold is as the sources have it; `defining`: what of a
    document may define abbreviations; in `given_gold`, one of each source, its mentions with gold are counted; `identified`: what of a text must not leave, None where all may.
    Raises DataError if a file or column is missing or a source yields no mention: of files that cannot be opened before anything is read.
    """
    for config in sources:
        for path in _files(config):
            if path.suffix == ".parquet":
                open_parquet(path)
    for index, config in enumerate(sources):
        found, refused, first = 0, 0, None
        stream = _read_source(index, config, known, defining, given_gold[index] if given_gold else GoldSplits(), identified)
        if config.repeat:
            read = list(stream)
            drawn = _repeated([m for m in read if isinstance(m, Mention)], config.repeat, f"{seed}:{index}")
            stream = itertools.chain((r for r in read if not isinstance(r, Mention)), drawn)
        for mention in stream:
            if isinstance(mention, Mention):
                found += 1
            else:
                refused, first = refused + 1, first or mention
            yield mention
        if not found:
            raise DataError(_empty(config, refused, first))


def mention_notes(config: MentionsConfig) -> list[str]:
    """What a user should know of a source that is read without complaint, as its first file has it."""
    paths = _files(config)
    try:
        return [*_columns_left_out(config, paths[0]), *(table.notes(paths[0], config) if config.format == "table" else [])] if paths else []
    except EmptyFile:
        return []


def _columns_left_out(config: MentionsConfig, path: Source) -> list[str]:
    names_of = _NAMES.get(config.format)
    left_out = not_read(config, names_of(path, config)) if names_of and config.columns else []
    if not left_out:
        return []
    what, them = (f"columns {', '.join(left_out)} are", "them") if len(left_out) > 1 else (f"column {left_out[0]} is", "it")
    return [f"{shown(config.path)}: its {what} not read; name {them} under `columns` where that is meant"]


def _read_source(
    index: int,
    config: MentionsConfig,
    known: KnownConcepts | None,
    defining: Callable[[str], str],
    given_gold: GoldSplits,
    identified: Callable[[str], Sequence[Hidden]] | None,
) -> Iterator[Mention | Reject]:
    splits = Splits(config, (raw.doc_id for raw in _rows(config) if isinstance(raw, RawMention) and raw.doc_id))
    documents = _Documents(defining, identified)
    key_of = lru_cache(maxsize=100_000)(mention_key)
    ids = UniqueIds()
    for number, raw in enumerate(_rows(config), start=1):
        if isinstance(raw, dict):
            yield raw
            continue
        given, problem = _clean_text(raw.text)
        if not problem:
            if (config.types and raw.type not in config.types) or not is_kept(given, config):
                continue
            problem = splits.problem(raw.doc_id)
        if problem:
            yield reject(raw.file, raw.line, problem, raw.text)
            continue
        document = raw.document or raw.context
        text = written_out(given, documents.definitions(document)) if config.abbreviations and document else given
        split = splits.of(text, raw.text, raw.doc_id)
        if raw.gold is not None and config.gold == "given":
            given_gold.add(split, raw.doc_id)
        if split is None:
            continue
        type = None if "type" in config.leave_out else raw.type
        context = None if "context" in config.leave_out else given_context(raw.context, raw.text)
        hidden = documents.hidden(context, document) if context and document and split in ASKED else None
        gold = _gold(raw.gold, config.gold)
        if known is not None:
            gold = known.resolve(gold, config)
        mention_id = f"{index}:{ids.unused(raw.id, number)}"
        written = given if given != text else None
        yield Mention(mention_id, key_of(text, type, context), text, context, type, raw.doc_id, split, gold, written, hidden)


class _Documents:
    """What a document says of the mentions in it; of the last one it is remembered, as mentions of one come one after another."""

    def __init__(self, defining: Callable[[str], str], identified: Callable[[str], Sequence[Hidden]] | None) -> None:
        self._defining = defining
        self.definitions = lru_cache(maxsize=1)(self._definitions)
        self._tidied = lru_cache(maxsize=1)(tidied)
        self._identified = lru_cache(maxsize=1)(identified) if identified else None

    def _definitions(self, document: str) -> dict[str, str]:
        """Abbreviation -> what it stands for."""
        if not any(bracket in document for bracket in "([（") or not definitions(document):
            return {}
        return definitions(self._defining(document))  # what is masked defines no more than the whole

    def hidden(self, context: str, document: str) -> tuple[Hidden, ...] | None:
        """What of a context must not leave by what the document tells that it was cut out of; None where it is all of that."""
        whole = self._tidied(document)
        if len(whole) <= len(context):
            return None
        return tuple(hidden_in(context, whole, self._identified(whole))) if self._identified else ()


def _rows(config: MentionsConfig) -> Iterator[RawMention | Reject]:
    """Of all files of a source, one after another. Of several, one may be empty, or lack a key that another has."""
    paths, lacking = _files(config), list[jsonl.KeysMissing]()
    for path in paths:
        try:
            yield from _READERS[config.format](path, config)
        except EmptyFile:
            if len(paths) == 1:
                raise
        except jsonl.KeysMissing as error:
            lacking.append(error)
    if lacking and len(lacking) == len(paths) and set.intersection(*(error.keys for error in lacking)):
        raise lacking[0]


def _files(config: MentionsConfig) -> list[Source]:
    """The files of a source, of several those that have a byte, as a Parquet file without rows has; of a format that has folders of its own, or no file, none
    but itself."""
    if config.format == "concept_names":
        return [Path()]
    if config.format == "standoff":
        return [files.locate_source(config.path)]
    found = files.locate_all(config.path)
    return found if len(found) == 1 else [path for path in found if path.suffix == ".parquet" or files.stamp_of(path)["size"]]


def _clean_text(raw: str) -> tuple[str, str | None]:
    """The text as models see it, and why it cannot be used, if so."""
    if len(raw.strip()) > MAX_CHARS:
        return "", f"text of {len(raw.strip())} characters, more than {MAX_CHARS}; {ONE_PHRASE}"
    text = clean(raw.strip())
    return text, None if text else "empty text"


def _gold(gold: Gold | None, override: str) -> Gold | None:
    return gold if override == "given" else [] if override == "nil" else None


def _repeated(mentions: Sequence[Mention], count: int, seed: str) -> Iterator[Mention]:
    """`count` draws with repeats: of the shuffled mentions the n-th comes with weight 1/n, as words do (Zipf)."""
    if not mentions:
        return
    draw = random.Random(seed)
    order = draw.sample(mentions, len(mentions))
    cumulative = list(itertools.accumulate(1 / rank for rank in range(1, len(order) + 1)))
    drawn = draw.choices(order, cum_weights=cumulative, k=count)
    for n, mention in enumerate(drawn, start=1):
        yield dataclasses.replace(mention, mention_id=f"{mention.mention_id}@{n}")


def _empty(config: MentionsConfig, refused: int, first: Reject | None) -> str:
    where = shown(config.path) or (shown(config.kb.path) if config.kb else config.format)
    if first:
        why = f"{refused} rows were refused, the first on line {first['line']}: {first['reason']}"
        if ONE_PHRASE not in first["reason"]:
            why += "; check format, columns and separator"
    else:
        why = "check that the file has rows, and that types, keep_every, split and split_file leave some"
    return f"{where}: no mention could be read; {why}"
