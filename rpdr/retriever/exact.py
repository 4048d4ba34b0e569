"""Which texts are the name of exactly one concept: two arrays that processes share, where a dict of five million names takes a gigabyte in each."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rpdr.corpus.normalise import normalise
from rpdr.files import read_json, write_atomically
from rpdr.kb import Concept

FILES = ("hashes", "owners")
LAST_FILE = f"{FILES[-1]}.npy"  # that `ExactNames.save` writes
UNDECIDED = -1  # in the place of an owner: of a text that is no name, or one that several concepts have, or that is disputed
DISPUTED_FILE = "disputed.json"  # in a student's folder


@dataclass(frozen=True)
class ExactNames:
    """`hashes` (n,) uint64 of normalised names, ascending; `owners` (n,) int32: the row of the concept that has the name.

    Names are told apart by 64 bits: of 5 million names and 100 million texts, three in 100,000 such runs would take one text for another.
    """

    hashes: np.ndarray
    owners: np.ndarray

    @classmethod
    def of(cls, concepts: Iterable[Concept], disputed: Collection[str] = ()) -> ExactNames:
        """Of every name of every concept, but for the `disputed` ones: they decide nothing."""
        named = ((name_hash(name), row) for row, concept in enumerate(concepts) for name in concept.names)
        pairs = np.fromiter(named, np.dtype([("hash", np.uint64), ("row", np.int32)]))
        hashes, rows = pairs["hash"], pairs["row"]
        order = np.lexsort((rows, hashes))
        hashes, rows = hashes[order], rows[order]
        distinct, first = np.unique(hashes, return_index=True)
        last = np.append(first[1:], len(hashes)) - 1 if len(hashes) else first
        alone = (rows[first] == rows[last]) & ~np.isin(distinct, np.array([name_hash(text) for text in disputed], dtype=np.uint64))
        return cls(distinct, np.where(alone, rows[first], UNDECIDED).astype(np.int32))

    @classmethod
    def for_student(cls, concepts: Iterable[Concept], folder: Path) -> ExactNames:
        """`of`, but for those that the training of a student found disputed; `folder`: the student's, where it may have looked for none."""
        path = folder / DISPUTED_FILE
        return cls.of(concepts, read_json(path) if path.exists() else ())

    def find(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) int32: the row of the one concept of which each text is a name, or -1."""
        if not len(self.hashes) or not len(texts):
            return np.full(len(texts), UNDECIDED, dtype=np.int32)
        wanted = np.array([name_hash(text) for text in texts], dtype=np.uint64)
        places = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        return np.where(self.hashes[places] == wanted, self.owners[places], UNDECIDED).astype(np.int32)

    def save(self, folder: Path) -> None:
        """Write two files into `folder`, each atomically."""
        for name, values in zip(FILES, (self.hashes, self.owners), strict=True):
            write_atomically(folder / f"{name}.npy", partial(np.save, arr=values))

    @staticmethod
    def saved(folder: Path) -> bool:
        """Whether `save` has written all into `folder`."""
        return (folder / LAST_FILE).exists()

    def disputed(self, linked: Mapping[str, Collection[int]]) -> list[str]:
        """Of texts, and the rows of the concepts that they were linked to, those that are the name of one concept and were never linked to it."""
        owners = self.find([*linked])
        return [text for text, owner in zip(linked, owners.tolist(), strict=True) if owner != UNDECIDED and owner not in linked[text]]

    @classmethod
    def load(cls, folder: Path) -> ExactNames:
        """What `save` wrote, memory-mapped: the processes of one machine share it."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in FILES))


def name_hash(text: str) -> int:
    """64 bits of the normalised text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(normalise(text).encode(), digest_size=8).digest(), "little")
