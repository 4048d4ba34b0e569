"""Which split a mention belongs to: the one that its source has, that the hash of its text gives, or its document's; and which texts are kept of many."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from rpdr import files
from rpdr.config import DocumentSplit, HashSplit, MentionsConfig
from rpdr.corpus.normalise import normalise
from rpdr.errors import DataError
from rpdr.schema import SPLITS


@dataclass
class GoldSplits:
    """Where one source's mentions with gold went."""

    by_split: Counter[str | None] = field(default_factory=Counter)  # None: they belong to none
    documents: Counter[str] = field(default_factory=Counter)  # that belong to none

    def add(self, split: str | None, doc_id: str | None) -> None:
        """Count a mention."""
        self.by_split[split] += 1
        if split is None and doc_id:
            self.documents[doc_id] += 1


class Splits:
    """The splits of one source's mentions. `documents`: the ids of its documents in their order, which are asked for where shares of them are."""

    def __init__(self, config: MentionsConfig, documents: Iterable[str]) -> None:
        self._rule = config.split
        self._setting = "split_documents" if config.split_documents else "split_file" if config.split_file else ""
        self._by_document: dict[str, str] = {}
        if config.split_documents:
            self._by_document = _in_order(documents, config.split_documents)
        elif config.split_file:
            self._by_document = _of_file(config.split_file)

    def problem(self, doc_id: str | None) -> str | None:
        """Why a mention of this document has no place among them, if so."""
        return f"no document id, which {self._setting} goes by" if self._setting and not doc_id else None

    def of(self, text: str, given: str, doc_id: str | None) -> str | None:
        """The split of a mention by its cleaned text, which the source gave as `given`, or by its document; None where it belongs to none."""
        return self._by_document.get(doc_id or "") if self._setting else split_of(text, given, self._rule)


def split_of(text: str, given: str, rule: str | HashSplit) -> str | None:
    """The split that `rule` names, or, by md5 modulo `rule.modulo`, that of a cleaned text, which the source gave as `given`; None where the remainder is not
    listed."""
    if isinstance(rule, str):
        return rule
    remainder = (_md5(given) if rule.of == "given" else text_hash(text)) % rule.modulo
    return next((split for split in SPLITS if remainder in getattr(rule, split)), None)


def is_kept(text: str, config: MentionsConfig) -> bool:
    """Whether a cleaned text is one of those that `keep_every` keeps."""
    if config.keep_every == 1:
        return True
    # Divided by the split's modulo first: otherwise, with equal moduli, all that is kept would fall on remainder 0.
    used_by_split = config.split.modulo if isinstance(config.split, HashSplit) else 1
    return text_hash(text) // used_by_split % config.keep_every == 0


def text_hash(text: str) -> int:
    """The md5 of the case-folded UTF-8 text as a number: the same on every machine and in every year, and for all texts of one key."""
    return _md5(normalise(text))


def _md5(text: str) -> int:
    return int(hashlib.md5(text.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest(), 16)


def _in_order(documents: Iterable[str], shares: DocumentSplit) -> dict[str, str]:
    """Document id -> split, by the order of documents in the source: also of those of whose mentions `types` or another filter leaves none."""
    docs = list(dict.fromkeys(documents))
    splits: dict[str, str] = {}
    share, start = 0.0, 0
    for split in SPLITS:
        share += getattr(shares, split)
        end = round(share * len(docs))
        splits |= dict.fromkeys(docs[start:end], split)
        start = end
    return splits


def _of_file(where: str) -> dict[str, str]:
    """Document id -> split, as a `split_file` has it. Raises DataError."""
    path = files.locate_source(where)
    try:
        splits = json.loads(files.read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg}); a split_file maps document ids to splits") from error
    if not isinstance(splits, dict):
        raise DataError(f"{path}: a split_file maps document ids to splits; this is {type(splits).__name__}")
    for doc_id, split in splits.items():
        if split not in SPLITS:
            raise DataError(f"{path}: {doc_id!r} has the split {split!r}; the splits are {', '.join(SPLITS)}")
    return splits
