"""Whether the texts that measure stand where something is learned too, from the file of mentions: a note where that flatters what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rpdr.corpus.mention import ROWS_AT_ONCE
from rpdr.corpus.normalise import normalise

MEASURED = ("test", "dev")
MANY = 0.2  # of a split's texts; public sets repeat some
LEARNED = {
    "unlabelled": "in the pool too, and measure a student that has met them: it links new texts less well",
    "labelled": "in the split labelled too, and measure what has met them: new texts are linked less well",
}


def overlap_notes(mentions: Path) -> list[str]:
    """A note for each split that is learned from and has many of the texts of dev or test, letter case and white space aside. In memory are their texts alone."""
    texts = {split: set(_texts(mentions, split)) for split in MEASURED}
    if not any(texts.values()):
        return []
    notes = []
    for split, told in LEARNED.items():
        there = {measured: set[str]() for measured in MEASURED}
        for text in _texts(mentions, split):
            for measured in MEASURED:
                if text in texts[measured]:
                    there[measured].add(text)
        if any(len(there[measured]) >= max(1, MANY * len(texts[measured])) for measured in MEASURED):
            counts = " and ".join(f"{len(found):,} of {len(texts[measured]):,} {measured}" for measured, found in there.items() if found)
            notes.append(f"{counts} texts are {told}")
    return notes


def _texts(mentions: Path, split: str) -> Iterator[str]:
    """The normalised texts of a split."""
    for batch in pq.ParquetFile(mentions).iter_batches(ROWS_AT_ONCE, columns=["text", "split"]):
        table = pa.Table.from_batches([batch])
        yield from map(normalise, table.filter(pc.equal(table["split"], split))["text"].to_pylist())
