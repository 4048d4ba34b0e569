"""What the gold of one source of mentions is like, counted as it is read, and what a user should know of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice

from rpdr.config import HashSplit, KbConfig, MentionsConfig
from rpdr.corpus.gold import KnownConcepts
from rpdr.corpus.mention import Mention
from rpdr.corpus.splits import GoldSplits
from rpdr.remote import shown
from rpdr.schema import SPLITS, ConceptId, members

JUDGED = ("labelled", "dev", "test")  # splits that are of no use without gold
EXAMPLES = 5  # of ids
NIL_WORDS = frozenset({"nil", "none", "null", "nan", "n/a", "na", "-", "--", "cui-less", "cuiless", "concept_less", "concept-less"})
_PARTS = re.compile(r"[^;,\s]+")


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
    missing: Counter[ConceptId] = field(default_factory=Counter)  # concepts that are not, with their mentions
    lacking: int = 0  # mentions whose gold names one of these
    given: GoldSplits = field(default_factory=GoldSplits)  # all mentions with gold, also of other splits and of none
    golds: dict[str, int] = field(default_factory=dict)  # hash of the first gold of each question, and of each id
    unlike_before: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))  # questions, and ids, that had another gold

    def add(self, mention: Mention) -> None:
        """Count a mention of the source."""
        self.mentions += 1
        if mention.gold is None:
            return
        self.by_split[mention.split] += 1
        if (
            not self.source.repeat and self.source.format != "concept_names"
        ):  # there a text is drawn again, and a name may be of several concepts
            self._compare(mention)
        named = members(mention.gold)
        missing = sorted(i for i in named if i not in self.concepts)
        self.naming += bool(named)
        self.known = self.known or len(missing) < len(named)
        self.lacking += bool(missing)
        self.missing.update(missing)

    def _compare(self, mention: Mention) -> None:
        """Note where the same question, or the same id, had another gold."""
        gold = hash(frozenset(map(frozenset, mention.gold or [])))
        first_id = mention.mention_id.rpartition("#")[0]  # of an id that was given out before: see ids.py
        for what, differing in ((mention.key, 0), (first_id if first_id in self.golds else mention.mention_id, 1)):
            if self.golds.setdefault(what, gold) != gold:
                self.unlike_before[differing].add(what)

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
        lacks = [self.told() if self.unlike else self._lacks()] if self.missing else []
        return [*lacks, *self._left_out(), *self._contradicted()]

    def told(self) -> str:
        """That none of its concepts is known, and the remedy."""
        ids, own = _listed(self.missing), _listed(self.concepts.ids(2))
        if self.source.gold_by == "name":
            remedy = "check that these are names of its concepts, or set `gold_by: id` if they are ids"
        else:
            prefixed = " (`gold_prefix` puts a prefix before them)" if self.source.format == "pubtator" else ""
            remedy = f"its ids are like {own}: write these in the same way{prefixed}, or set `gold_by: name` if they are names"
        left_out = f"; kb.id_prefix keeps of its concepts those with {self.kb.id_prefix!r} alone" if self.kb.id_prefix else ""
        return f"{self.place}: the knowledge base has none of the concepts in its gold ({self.naming:,} mentions), such as {ids}; {'; '.join([*self._meant(), remedy])}{left_out}"

    def _lacks(self) -> str:
        """That some of its concepts are not known, and the remedy."""
        what = "name" if self.source.gold_by == "name" else "id"
        count = f"{len(self.missing):,} {what}s" if len(self.missing) > 1 else f"1 {what}"
        ids = _listed(i for i, _ in self.missing.most_common())
        remedy = self._meant() or ["no answer is right there; add them to it, or set `unknown_gold: nil` where 'none of these' is meant"]
        return f"{self.place}: the knowledge base lacks {count} in the gold of {self.lacking:,} of {self.naming:,} mentions, such as {ids}; {'; '.join(remedy)}"

    def _meant(self) -> list[str]:
        """What of the missing concepts is only written in another way, each way with its remedy."""
        told = []
        if nil := sorted(i for i in self.missing if i.casefold() in NIL_WORDS):
            values = ", ".join(f'"{value}"' for value in (*self.source.nil_values, *nil))
            told.append(f"{_listed(nil)}: if that means that there is no concept, set nil_values: [{values}]")
        if self.source.gold_by == "name":
            return told
        if cased := self.concepts.in_other_case(self.missing):
            first, own = next(iter(cased.items()))
            told.append(
                f"letter case alone is other in {len(cased):,} of these, as in {first!r} for {own!r}: write them as the knowledge base does"
            )
        if several := [i for i in self.missing if len(parts := _PARTS.findall(i)) > 1 and all(part in self.concepts for part in parts)]:
            told.append(
                f"{_listed(several[:1])} holds several ids: write + or ## between those that are right together, | between alternatives"
            )
        return told

    def _left_out(self) -> list[str]:
        """That mentions are not read whose gold somebody gave, because they belong to no split. Names of a knowledge base cost nobody work."""
        left_out = self.given.by_split[None]
        if not left_out or self.source.format == "concept_names":
            return []
        return [
            f"{self.place}: {left_out:,} of {self.given.by_split.total():,} mentions with gold {self._without_split()} and are left out"
        ]

    def _without_split(self) -> str:
        """Why they belong to none."""
        rule, documents = self.source.split, self.given.documents
        if self.source.split_file or self.source.split_documents or not isinstance(rule, HashSplit):
            why = "split_file does not name" if self.source.split_file else "the shares of split_documents leave over"
            count = f"{len(documents):,} documents" if len(documents) > 1 else "a document"
            return f"are of {count} that {why}, such as {_listed(documents)},"
        unnamed = sorted(set(range(rule.modulo)).difference(*(getattr(rule, split) for split in SPLITS)))
        return f"have a remainder that no split names ({_ranges(unnamed)})"

    def _contradicted(self) -> list[str]:
        """That of one question, or of one id, there are several answers."""
        counts = [
            f"{len(found):,} {what}{'' if len(found) == 1 else 's'}"
            for found, what in zip(self.unlike_before, ("text", "id"), strict=True)
            if found
        ]
        if not counts:
            return []
        return [
            f"{self.place}: in {', '.join(JUDGED)} {' and '.join(counts)} with different gold in different rows: of one question at most one answer is right"
        ]


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in few words: 0, 4 to 9."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda at: at[1] - at[0])]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(repr(i[:40]) for i in islice(ids, EXAMPLES))
