"""Whether the texts that measure stand where something is learned too, from the file of mentions: a note where that flatters what is measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rpdr.corpus.mention import batches_of
from rpdr.corpus.normalise import normalise

MEASURED = ("test", "dev")
MANY = 0.2  # of a split's texts; public sets repeat some
LEARNED = {
    "unlabelled": "in the pool too, and measure a student that has met them: it links new texts less well",
    "labelled": "in the split labelled too, and measure what has met them: new texts are linked less well",
}


def overlap_notes(mentions: Path) -> list[str]:
    """A note for each split that is learned from and has many of the texts of dev or test, letter case and white space aside. In memory are their texts alone."""
    texts = {split: set[str]() for split in MEASURED}
    for split, text in _texts(mentions, MEASURED):
        texts[split].add(text)
    if not any(texts.values()):
        return []
    there = {split: {measured: set[str]() for measured in MEASURED} for split in LEARNED}
    for split, text in _texts(mentions, LEARNED):
        for measured in MEASURED:
            if text in texts[measured]:
                there[split][measured].add(text)
    notes = []
    for split, told in LEARNED.items():
        if any(len(found) >= max(1, MANY * len(texts[measured])) for measured, found in there[split].items()):
            counts = " and ".join(
                f"{len(found):,} of {len(texts[measured]):,} {measured}" for measured, found in there[split].items() if found
            )
            notes.append(f"{counts} texts are {told}")
    return notes


def _texts(mentions: Path, splits: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(split, normalised text) of the mentions of these splits."""
    for part in batches_of(mentions, splits, ("text", "split")):
        yield from zip(part["split"].to_pylist(), map(normalise, part["text"].to_pylist()), strict=True)
