"""Mentions and rejects written to their files as they come, and what is counted on the way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rpdr.corpus.mention import ROWS_AT_ONCE, Mention, writing_mentions
from rpdr.files import writing_rows
from rpdr.schema import REJECTS
from rpdr.tables.rejects import Reject


@dataclass
class Written:
    """What `write_corpus` wrote: mentions by split, rejects by reason, mentions with abbreviations written out, unlabelled ones with a context, and those
    that may leave with a context that was cut out of a longer text."""

    splits: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    written_out: int = 0
    contexts: int = 0
    cut_contexts: int = 0


def write_corpus(found: Iterable[Mention | Reject], mentions: Path, rejects: Path, tell: Callable[[int], None]) -> Written:
    """Write each to its file as it comes, telling now and then how many mentions there are."""
    told = Written()
    with writing_mentions(mentions) as write, writing_rows(rejects, REJECTS) as set_aside:  # the mentions are put in place last
        for row in found:
            if isinstance(row, Mention):
                write(row)
                told.splits[row.split] += 1
                told.written_out += row.written is not None
                told.cut_contexts += row.hidden is not None
                told.contexts += row.context is not None and row.split == "unlabelled"
                if told.splits.total() % ROWS_AT_ONCE == 0:
                    tell(told.splits.total())
            else:
                set_aside(row)
                told.reasons[alike(row)] += 1
    return told


def alike(row: Reject) -> str:
    """Its reason, without remedy and without what of it is a row's own: its first number, or the numbers of a place."""
    return re.sub(r"\d+(?:[-;, ]+\d+)*", "n", row["reason"].partition(";")[0], count=1)
