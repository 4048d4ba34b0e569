"""From MentionsConfigs to mentions: read every source, filter, split, clean and key; what cannot be used becomes a reject."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from rpdr import files
from rpdr.config import DocumentSplit, HashSplit, MentionsConfig
from rpdr.corpus import concept_names, jsonl, pubtator, standoff, table
from rpdr.corpus.abbreviations import definitions, written_out
from rpdr.corpus.context import Hidden, given_context, hidden_in
from rpdr.corpus.fields import not_read
from rpdr.corpus.gold import KnownConcepts
from rpdr.corpus.ids import UniqueIds
from rpdr.corpus.mention import Mention, RawMention
from rpdr.corpus.normalise import MAX_CHARS, clean, mention_key, normalise, tidied
from rpdr.errors import DataError
from rpdr.files import Source
from rpdr.remote import shown
from rpdr.schema import ASKED, SPLITS, Gold
from rpdr.tables.rejects import Reject, reject
from rpdr.tables.rows import EmptyFile, open_parquet, text_of

_READERS: dict[str, Callable[[Source, MentionsConfig], Iterator[RawMention | Reject]]] = {
    "table": table.read,
    "jsonl": jsonl.read,
    "pubtator": pubtator.read,
    "standoff": standoff.read,
    "concept_names": concept_names.read,
}

_NAMES: dict[str, Callable[[Source, MentionsConfig], Sequence[str]]] = {"table": table.names, "jsonl": jsonl.names}

ONE_PHRASE = "a row is one phrase that was found, and the text of a note belongs in its `context`"


def read_mentions(sources: Sequence[MentionsConfig], seed: int, known: KnownConcepts | None = None) -> tuple[list[Mention], list[Reject]]:
    """What `stream_mentions` reads: the mentions, and the rows that could not be used."""
    mentions: list[Mention] = []
    rejects: list[Reject] = []
    for found in stream_mentions(sources, seed, known):
        if isinstance(found, Mention):
            mentions.append(found)
        else:
            rejects.append(found)
    return mentions, rejects


def stream_mentions(
    sources: Sequence[MentionsConfig],
    seed: int,
    known: KnownConcepts | None = None,
    defining: Callable[[str], str] = str,
    by_rule: Sequence[Counter[str | None]] = (),
    identified: Callable[[str], Sequence[Hidden]] | None = None,
) -> Iterator[Mention | Reject]:
    """The mentions of all sources in order, and the rows that could not be used (dicts of schema.REJECTS), each as it is read: of a source
    without `repeat` only a number a mention is remembered.

    `seed` drives `repeat` alone; `known` brings gold to ids of the knowledge base, without it gold is as the sources have it; `defining`: what of a
    document may define abbreviations; in `by_rule`, one of each source, its mentions with gold are counted by the split that `split` gives them, None where
    that is none; `identified`: what of a text must not leave, None where all may.
    Raises DataError if a file or column is missing or a source yields no mention: of files that cannot be opened before anything is read.
    """
    for config in sources:
        for path in _files(config):
            if path.suffix == ".parquet":
                open_parquet(path)
    for index, config in enumerate(sources):
        found, refused, first = 0, 0, None
        stream = _read_source(index, config, known, defining, by_rule[index] if by_rule else Counter(), identified)
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
    names_of, paths = _NAMES.get(config.format), _files(config)
    try:
        left_out = not_read(config, names_of(paths[0], config)) if names_of and paths and config.columns else []
    except EmptyFile:
        return []
    if not left_out:
        return []
    what, them = (f"columns {', '.join(left_out)} are", "them") if len(left_out) > 1 else (f"column {left_out[0]} is", "it")
    return [f"{shown(config.path)}: its {what} not read; name {them} under `columns` where that is meant"]


def split_of(text: str, given: str, rule: HashSplit) -> str | None:
    """The split of a cleaned text that the source gave as `given`: md5 modulo `rule.modulo`. None where the remainder is not listed."""
    remainder = (_md5(given) if rule.of == "given" else text_hash(text)) % rule.modulo
    return next((split for split in SPLITS if remainder in getattr(rule, split)), None)


def text_hash(text: str) -> int:
    """The md5 of the case-folded UTF-8 text as a number: the same on every machine and in every year, and for all texts of one key."""
    return _md5(normalise(text))


def _md5(text: str) -> int:
    return int(hashlib.md5(text.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest(), 16)


def _read_source(
    index: int,
    config: MentionsConfig,
    known: KnownConcepts | None,
    defining: Callable[[str], str],
    by_rule: Counter[str | None],
    identified: Callable[[str], Sequence[Hidden]] | None,
) -> Iterator[Mention | Reject]:
    split_by_doc = _split_by_doc(config)
    key_of = lru_cache(maxsize=100_000)(mention_key)

    @lru_cache(maxsize=1)  # mentions of one document come one after another
    def definitions_of(document: str) -> dict[str, str]:
        if not any(bracket in document for bracket in "([（") or not definitions(document):
            return {}
        return definitions(defining(document))  # what is masked defines no more than the whole

    @lru_cache(maxsize=1)
    def identified_in(whole: str) -> Sequence[Hidden]:
        return identified(whole) if identified else ()

    tidy = lru_cache(maxsize=1)(tidied)
    ids = UniqueIds()
    for number, raw in enumerate(_rows(config), start=1):
        if isinstance(raw, dict):
            yield raw
            continue
        text, problem = _clean_text(raw.text)
        if problem:
            yield reject(raw.file, raw.line, problem, raw.text)
            continue
        if (config.types and raw.type not in config.types) or not _is_kept(text, config):
            continue
        given, document = text, raw.document or raw.context
        if config.abbreviations and document:
            text = written_out(text, definitions_of(document))
        if split_by_doc is not None and not raw.doc_id:
            by = "split_documents" if config.split_documents else "split_file"
            yield reject(raw.file, raw.line, f"no document id, which {by} goes by", raw.text)
            continue
        gold = _gold(raw.gold, config.gold)
        if split_by_doc is not None:
            split = split_by_doc.get(raw.doc_id or "")
        else:
            split = _rule_split(text, raw.text, config.split)
            by_rule[split] += raw.gold is not None and config.gold == "given"
        if split is None:
            continue
        context = None if "context" in config.leave_out else given_context(raw.context, raw.text)
        type = None if "type" in config.leave_out else raw.type
        if known is not None:
            gold = known.resolve(gold, config)
        mention_id = f"{index}:{ids.unused(raw.id, number)}"
        written = given if given != text else None
        hidden = None
        if context and split in ASKED and document and len(whole := tidy(document)) > len(context):
            hidden = tuple(hidden_in(context, whole, identified_in(whole))) if identified else ()
        yield Mention(mention_id, key_of(text, type, context), text, context, type, raw.doc_id, split, gold, written, hidden)


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


def _is_kept(text: str, config: MentionsConfig) -> bool:
    if config.keep_every == 1:
        return True
    # Divided by the split's modulo first: otherwise, with equal moduli, all that is kept would fall on remainder 0.
    used_by_split = config.split.modulo if isinstance(config.split, HashSplit) else 1
    return text_hash(text) // used_by_split % config.keep_every == 0


def _rule_split(text: str, given: str, rule: str | HashSplit) -> str | None:
    return split_of(text, given, rule) if isinstance(rule, HashSplit) else rule


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


def _split_by_doc(config: MentionsConfig) -> dict[str, str] | None:
    """Document id -> split, where the config splits by document."""
    if config.split_documents:
        return _split_in_order(config, config.split_documents)
    return _split_of_file(config.split_file) if config.split_file else None


def _split_in_order(config: MentionsConfig, shares: DocumentSplit) -> dict[str, str]:
    """By the order of documents in the source, which is read once for it; those without a usable mention do not count."""
    docs = list(dict.fromkeys(raw.doc_id for raw in _rows(config) if isinstance(raw, RawMention) and raw.doc_id))
    splits: dict[str, str] = {}
    share, start = 0.0, 0
    for split in SPLITS:
        share += getattr(shares, split)
        end = round(share * len(docs))
        splits |= dict.fromkeys(docs[start:end], split)
        start = end
    return splits


def _split_of_file(where: str) -> dict[str, str]:
    path = files.locate_source(where)
    try:
        splits = json.loads(text_of(path, "utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg}); a split_file maps document ids to splits") from error
    if not isinstance(splits, dict):
        raise DataError(f"{path}: a split_file maps document ids to splits; this is {type(splits).__name__}")
    for doc_id, split in splits.items():
        if split not in SPLITS:
            raise DataError(f"{path}: {doc_id!r} has the split {split!r}; the splits are {', '.join(SPLITS)}")
    return splits


def _empty(config: MentionsConfig, refused: int, first: Reject | None) -> str:
    where = shown(config.path) or (shown(config.kb.path) if config.kb else config.format)
    if first:
        why = f"{refused} rows were refused, the first on line {first['line']}: {first['reason']}"
        if ONE_PHRASE not in first["reason"]:
            why += "; check format, columns and separator"
    else:
        why = "check that the file has rows, and that types, keep_every, split and split_file leave some"
    return f"{where}: no mention could be read; {why}"
