"""What is linked: shards in a store that are whole once they are there, and a manifest of them; what of a shard is answered waits for the rest."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rpdr.errors import RunError
from rpdr.pipeline.link_summary import DECIDERS
from rpdr.pipeline.shards import Shards, joined
from rpdr.pipeline.store import MANIFEST, Store, shard_file
from rpdr.schema import LINKED

MANIFEST_EVERY_S = 5.0
COUNTED = ("mentions", "distinct", "nil", "abstained", *(name for name, _ in DECIDERS.values()))


class Linked:
    """The finished shards in a store. `counts`: of each, what the summary adds up; `todo`: the shards that are not there yet.

    `made_from` says of what they are made: those of a start from anything else are refused with RunError.
    """

    def __init__(self, store: Store, shards: Shards, made_from: dict[str, str]) -> None:
        self.store, self.shards, self.made_from = store, shards, made_from
        filled = [int(shard) for shard in np.flatnonzero(shards.mentions)]
        self.counts = self._finished(filled)
        store.sweep()  # not before: another run may be at work there
        self.todo = [shard for shard in filled if shard not in self.counts]
        self.mentions = sum(counts["mentions"] for counts in self.counts.values())
        self._waiting: dict[int, list[pa.Table]] = defaultdict(list)
        self.write_manifest()

    def accept(self, answered: pa.Table) -> None:
        """Take rows of ANSWERED; write the shards that they make whole."""
        for shard in pc.unique(answered["shard"]).to_pylist():
            waiting = self._waiting[shard]
            waiting.append(answered.filter(pc.equal(answered["shard"], shard)))
            if sum(table.num_rows for table in waiting) == waiting[0]["of"][0].as_py():
                self._write(shard, pa.concat_tables(self._waiting.pop(shard)))

    def _write(self, shard: int, answered: pa.Table) -> None:
        mentions = self.shards.read(shard)
        tally = _Tally(mentions["question"])
        self.store.write_tables(shard_file(shard), tally.passing(joined(mentions, answered, LINKED)), LINKED)
        self.counts[shard] = tally.counts
        self.mentions += self.counts[shard]["mentions"]
        if time.monotonic() - self._told > MANIFEST_EVERY_S:
            self.write_manifest()

    def write_manifest(self) -> None:
        """Note the finished shards and what is in them."""
        told = {str(shard): {"file": shard_file(shard), **self.counts[shard]} for shard in sorted(self.counts)}
        self.store.write_json(MANIFEST, {"made_from": self.made_from, "of": int(np.count_nonzero(self.shards.mentions)), "shards": told})
        self._told = time.monotonic()

    def total(self) -> dict[str, int]:
        """`counts` of all shards together."""
        return {name: sum(counts[name] for counts in self.counts.values()) for name in COUNTED}

    def _finished(self, filled: list[int]) -> dict[int, dict[str, int]]:
        told, names = self.store.read_json(MANIFEST) or {}, self.store.names()
        there = [shard for shard in filled if shard_file(shard) in names]
        if told.get("made_from", None if there else self.made_from) != self.made_from:
            away = (
                "add --redo to throw them away"
                if told
                else f"remove them by hand, as {MANIFEST}, which would tell of what they are, is not there"
            )
            raise RunError(
                f"{self.store}: holds shards of another corpus, student or config; link into another place or, if they are this run's, {away}"
            )
        known = {n: counts for n in there if (counts := told.get("shards", {}).get(str(n), {})).keys() >= set(COUNTED)}
        found = {n: {c: known[n][c] for c in COUNTED} if n in known else self._counted(n) for n in there}
        whole = self.shards.mentions
        return {n: counts for n, counts in found.items() if counts["mentions"] == whole[n]}  # another is made again

    def _counted(self, shard: int) -> dict[str, int]:
        """COUNTED of a shard that is there."""
        tally = _Tally(self.shards.read(shard)["question"])
        for _ in tally.passing(self.store.read_tables(shard_file(shard))):
            pass
        return tally.counts


class _Tally:
    """COUNTED of rows of schema.LINKED that come in parts, one for each of `questions`: mentions, but questions of each source."""

    def __init__(self, questions: pa.ChunkedArray) -> None:
        self._questions = questions
        self._mentions = self._nil = self._abstained = 0
        self._by: dict[str, set[str]] = {source: set() for source in DECIDERS}

    def passing(self, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The same parts, counted as they come."""
        for linked in parts:
            questions = self._questions.slice(self._mentions, linked.num_rows)
            sources = linked["source"].slice(0, len(questions))  # a file that is another's has more, and is made again
            for source, decided in self._by.items():
                decided.update(pc.unique(questions.filter(pc.equal(sources, source))).to_pylist())
            abstained = pc.sum(linked["abstained"]).as_py() or 0
            self._mentions += linked.num_rows
            self._abstained += abstained
            self._nil += linked["concept_id"].null_count - abstained
            yield linked

    @property
    def counts(self) -> dict[str, int]:
        """Of all parts so far."""
        by = [len(decided) for decided in self._by.values()]
        return dict(zip(COUNTED, (self._mentions, sum(by), self._nil, self._abstained, *by), strict=True))
