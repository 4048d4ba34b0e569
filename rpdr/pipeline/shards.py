"""The corpus in shards, on disk: a mention's shard follows from its question alone, so all mentions of a question meet in one.

Spreading reads the corpus once, in the memory of one part, and writes it in parts that are sorted by shard; a shard is a slice of each part.
No order of work, number of machines or start after a kill changes what is in a shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rpdr.corpus import mention_key
from rpdr.corpus.mention import batches_of
from rpdr.files import write_atomically
from rpdr.schema import MENTIONS
from rpdr.tables.mapped import map_arrow, write_arrow

PART = 200_000  # mentions that are held in memory while spreading …
PARTS = 1_000  # … or more, so that no more parts than these have to be opened for a shard
JOINED = 100_000  # mentions that are joined with their answers at once: of the most frequent mention a shard may hold millions
COLUMNS = ("mention_id", "key", "text", "context", "type", "split", "written")
QUESTION = pa.field("question", pa.string(), nullable=False)  # see `questions`
SCHEMA = pa.schema([*(MENTIONS.field(name) for name in COLUMNS), QUESTION])
BOUNDS = "bounds.npy"  # written last: the folder is whole if it is there


@dataclass(frozen=True)
class Shards:
    """`bounds` (parts, shards + 1): where each shard begins in each part."""

    folder: Path
    bounds: np.ndarray

    @classmethod
    def spread(cls, corpus: Path, splits: tuple[str, ...], size: int, folder: Path, use_context: bool) -> Shards:
        """The mentions of these splits from a file of schema.MENTIONS, about `size` a shard; `use_context`: whether a mention in another sentence is
        another question. What an earlier start has spread is taken as it is."""
        if (folder / BOUNDS).exists():
            return cls.load(folder)
        mentions = sum(part.num_rows for part in batches_of(corpus, splits, ("split",)))
        count = max(1, -(-mentions // size))
        bounds = []
        for number, part in enumerate(batches_of(corpus, splits, COLUMNS, max(PART, -(-mentions // PARTS)))):
            part = part.append_column(QUESTION, questions(part, use_context)).cast(SCHEMA)
            shards = np.array([shard_of(question, count) for question in part["question"].to_pylist()], dtype=np.int64)
            order = np.argsort(shards, kind="stable")
            bounds.append(np.searchsorted(shards[order], np.arange(count + 1)))
            write_arrow(_part_file(folder, number), part.take(order))
        pa.default_memory_pool().release_unused()  # Arrow keeps for later what grows with the corpus: 290 MiB of 5 million mentions
        whole = np.array(bounds, dtype=np.int64).reshape(-1, count + 1)
        write_atomically(folder / BOUNDS, lambda file: np.save(file, whole))
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path) -> Shards:
        """What `spread` left in `folder`."""
        return cls(folder, np.load(folder / BOUNDS, mmap_mode="r"))  # parts times shards: the larger the corpus, the more

    def __len__(self) -> int:
        return self.bounds.shape[1] - 1

    @property
    def mentions(self) -> np.ndarray:
        """(shards,) how many mentions each holds."""
        found = np.zeros(len(self), dtype=np.int64)
        for bounds in self.bounds:  # one by one: of a billion mentions all together are gigabytes
            found += np.diff(bounds)
        return found

    def read(self, shard: int) -> pa.Table:
        """The mentions of a shard, in the order of the corpus: SCHEMA. They stay on the disk until they are looked at."""
        slices = []
        for number, bounds in enumerate(self.bounds):
            start, end = int(bounds[shard]), int(bounds[shard + 1])
            if end > start:
                slices.append(map_arrow(_part_file(self.folder, number)).slice(start, end - start))
        return pa.concat_tables(slices) if slices else SCHEMA.empty_table()


def shard_of(question: str, shards: int) -> int:
    """The shard of a question (hexadecimal digits)."""
    return int(question[:15], 16) % shards


def questions(mentions: pa.Table, use_context: bool) -> pa.ChunkedArray:
    """What is asked about each of some rows of schema.MENTIONS, as the key of what is read of it: its text and, with `use_context`, its context; nobody
    reads types here."""
    if use_context:
        key_of = lru_cache(PART)(mention_key)
        read = zip(mentions["text"].to_pylist(), mentions["context"].to_pylist(), strict=True)
        return pa.chunked_array([[key_of(text, None, context) for text, context in read]], pa.string())
    return pa.chunked_array([_keys_of(texts) for texts in mentions["text"].chunks], pa.string())


def _keys_of(texts: pa.StringArray) -> pa.StringArray:
    told = texts.dictionary_encode()  # of a corpus most are repeats
    return pa.array(map(mention_key, told.dictionary.to_pylist()), pa.string()).take(told.indices)


def distinct(mentions: pa.Table) -> pa.Table:
    """The first mention of each question, in order: what is asked for all of them. Its `key` is the question."""
    codes = pc.dictionary_encode(mentions["question"].combine_chunks()).indices.to_numpy()
    first = _taken(mentions, np.unique(codes, return_index=True)[1])  # in order, as codes are given out as questions come
    return first.set_column(first.schema.get_field_index("key"), MENTIONS.field("key"), first["question"]).select(COLUMNS)


def _taken(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """These rows, ascending, batch by batch: of a column of several chunks Arrow's own take makes one, which contexts of 2 GiB do not fit into."""
    taken, start = [], 0
    for batch in table.to_batches():
        own = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + batch.num_rows)] - start
        if len(own):
            taken.append(batch.take(pa.array(own)))
        start += batch.num_rows
    return pa.Table.from_batches(taken, table.schema)


def joined(mentions: pa.Table, answers: pa.Table, schema: pa.Schema) -> Iterator[pa.Table]:
    """Each mention with the answer of its question, JOINED at once; `answers` has one row a question, its `key`. Columns of `schema`, a mention's own
    where both have one."""
    answers = answers.combine_chunks()
    keys = answers["key"].combine_chunks()
    for start in range(0, mentions.num_rows, JOINED):
        part = mentions.slice(start, JOINED).combine_chunks()
        found = answers.take(pc.index_in(part["question"], keys))
        yield pa.table([part[name] if name in part.column_names else found[name] for name in schema.names], schema=schema)


def _part_file(folder: Path, number: int) -> Path:
    return folder / f"part-{number:06d}.arrow"
