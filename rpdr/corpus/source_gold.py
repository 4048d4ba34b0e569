"""What the gold of one source of mentions is like, counted as it is read, and what a user should know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from rpdr.config import HashSplit, KbConfig, MentionsConfig
from rpdr.corpus.gold import KnownConcepts
from rpdr.corpus.mention import Mention
from rpdr.remote import shown
from rpdr.schema import SPLITS, ConceptId, members

JUDGED = ("labelled", "dev", "test")  # splits that are of no use without gold
EXAMPLES = 5  # of ids


@dataclass
class SourceGold:
    """What the gold of one source is, in the splits that are of no use without."""

    source: MentionsConfig
    kb: KbConfig
    concepts: KnownConcepts
    mentions: int = 0
    by_split: Counter[str] = field(default_factory=Counter)  # mentions that have gold
    naming: int = 0  # mentions whose gold names a concept, known or not
    known: bool = False  # one of these concepts is
    unknown: list[ConceptId] = field(default_factory=list)  # the first EXAMPLES
    by_rule: Counter[str | None] = field(
        default_factory=Counter
    )  # mentions with gold by split as the source's rule has it, None: by no split

    def add(self, mention: Mention) -> None:
        """Count a mention of the source."""
        self.mentions += 1
        if mention.gold is None:
            return
        self.by_split[mention.split] += 1
        named = members(mention.gold)
        self.naming += bool(named)
        if not self.known and named:
            self.known = any(i in self.concepts for i in named)
            self.unknown = list(dict.fromkeys([*self.unknown, *sorted(named)]))[:EXAMPLES]

    @property
    def unlike(self) -> bool:
        """Whether it names concepts, and none that is known."""
        return self.naming > 0 and not self.known

    @property
    def place(self) -> str:
        """Where it is, as the config has it."""
        return shown(self.source.path or (self.source.kb.path if self.source.kb else ""))

    def notes(self) -> list[str]:
        """What a user should know of it, though it ends nothing."""
        return [*([self.told()] if self.unlike else []), *self._left_out()]

    def told(self) -> str:
        """That none of its concepts is known, and the remedy."""
        ids, own = _listed(self.unknown), _listed(self.concepts.ids(2))
        if self.source.gold_by == "name":
            remedy = "check that these are names of its concepts, or set `gold_by: id` if they are ids"
        else:
            prefixed = " (`gold_prefix` puts a prefix before them)" if self.source.format == "pubtator" else ""
            remedy = f"its ids are like {own}: write these in the same way{prefixed}, or set `gold_by: name` if they are names"
        left_out = f"; kb.id_prefix keeps of its concepts those with {self.kb.id_prefix!r} alone" if self.kb.id_prefix else ""
        return f"{self.place}: the knowledge base has none of the concepts in its gold ({self.naming:,} mentions), such as {ids}; {remedy}{left_out}"

    def _left_out(self) -> list[str]:
        """That mentions are not read whose gold somebody gave, because no split names their remainder. Names of a knowledge base cost nobody work."""
        rule, left_out = self.source.split, self.by_rule[None]
        if not left_out or not isinstance(rule, HashSplit) or self.source.format == "concept_names":
            return []
        unnamed = sorted(set(range(rule.modulo)).difference(*(getattr(rule, split) for split in SPLITS)))
        return [
            f"{self.place}: {left_out:,} of {self.by_rule.total():,} mentions with gold have a remainder that no split names ({_ranges(unnamed)}) "
            "and are left out"
        ]


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in few words: 0, 4 to 9."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda at: at[1] - at[0])]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(repr(i[:40]) for i in ids)
