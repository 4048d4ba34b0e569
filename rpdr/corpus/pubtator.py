"""Mentions in PubTator form: `id|t|title`, `id|a|abstract`, then one tab-separated annotation a line, blank lines between documents.

`+` in an id means all of, `|` alternatives unless mentions.gold_bar says otherwise. Relations (four cells, e.g. CID) are passed over;
the mention's passage is its context.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rpdr.config import MentionsConfig
from rpdr.corpus.context import window
from rpdr.corpus.gold import alternatives_of, gold_of, nil_if_any
from rpdr.corpus.mention import RawMention
from rpdr.files import Source, read_lines
from rpdr.tables.rejects import Reject, reject

_PASSAGE = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)


def read(path: Source, config: MentionsConfig) -> Iterator[RawMention | Reject]:
    """Mentions and rejects in the file's order. An annotation whose offsets do not fit the text is a reject."""
    file, doc_id, passages = str(path), "", dict[str, str]()
    for number, line in enumerate(read_lines(path, config.encoding), start=1):
        line = line.removesuffix("\r")
        passage = _PASSAGE.fullmatch(line)
        if passage:
            if passage[1] != doc_id:
                doc_id, passages = passage[1], {}
            passages[passage[2]] = passage[3]
        elif line.strip():
            cells = line.split("\t")
            if len(cells) == 4 and not cells[1].strip().isdecimal():
                continue
            try:
                yield _mention(file, number, cells, doc_id, passages, config)
            except ValueError as error:
                yield reject(path, number, str(error), line)


def _mention(file: str, line: int, cells: list[str], doc_id: str, passages: Mapping[str, str], config: MentionsConfig) -> RawMention:
    """Raises ValueError, the reason for a reject, if the row does not have the form or does not fit its document."""
    if len(cells) < 5:
        raise ValueError(f"{len(cells)} cells where document, start, end, text, type and id are expected")
    if cells[0] != doc_id:
        raise ValueError("annotates another document than the one above it")  # a reason may stand in a log: without text
    if not (cells[1].strip().isdecimal() and cells[2].strip().isdecimal()):
        raise ValueError("start and end are not numbers")
    start, end, text = int(cells[1]), int(cells[2]), cells[3]
    document = f"{passages.get('t', '')}\n{passages.get('a', '')}"
    there = document[start:end]
    if not there or there.split() != text.split():  # in white space alone they may differ
        raise ValueError(f"at {start}-{end} the document has another text")
    ids = alternatives_of(cells[5] if len(cells) > 5 else "", config)
    return RawMention(
        file=file,
        line=line,
        text=text,
        id=f"{doc_id}:{start}-{end}",
        context=window(document, start, end),
        type=cells[4].strip() or None,
        doc_id=doc_id,
        document=document,
        gold=gold_of(ids, config.nil_values, lambda i: with_prefix(i, config.gold_prefix)) or nil_if_any(ids),
    )


def with_prefix(concept_id: str, prefixes: Mapping[str, str]) -> str:
    """The id as the knowledge base writes it: the longest key that it starts with is replaced by its value.

    The key '' stands for ids that have no colon: its value is put before them.
    """
    for old in sorted(filter(None, prefixes), key=len, reverse=True):
        if concept_id.startswith(old):
            return prefixes[old] + concept_id.removeprefix(old)
    return concept_id if ":" in concept_id else prefixes.get("", "") + concept_id
