"""The vectors of a knowledge base's names: in one FAISS index, or in parts, which may be in other processes and on other machines.

Rows and numbers in, rows and numbers out; what the rows are called is the index's business.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
import torch

from rpdr.errors import RunError
from rpdr.files import write_atomically
from rpdr.retriever.on_device import OnDevice, has_room

_SWIG: Any = faiss  # what SWIG adds to it and its stubs lack
# From so many numbers in a batch of queries FAISS compares them by one matrix product: at its own 128,000 (333 queries of 384) those of batches like ours
# took 6 times as long; of fewer than 8 they are compared faster one by one
_SWIG.cvar.distance_compute_blas_threshold = 8 * 384
ONE_FILE, PART_FILE, ANY_FILE = "names.faiss", "names-{:05d}-of-{:05d}.faiss", "names*.faiss"


class Vectors(Protocol):
    """What answers for `total` vectors."""

    @property
    def total(self) -> int:
        """How many there are."""

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(scores, rows), both (n_queries, at most k): inner products with the queries (n_queries, d) float32, descending, and rows; -1 where an
        approximate index looked at no more."""

    def cosines(self, vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(n,) inner products of row `rows[i]` with query `queries[i]` of `vectors` (n_queries, d); `queries` (n,) ascending."""


class Part:
    """One FAISS index, in memory, or mapped from `file`; its vectors may be on a GPU too, and are searched there."""

    def __init__(self, faiss_index: Any, file: Path | None = None) -> None:
        self.faiss_index, self.file = faiss_index, file
        self._there: OnDevice | None = None

    @property
    def total(self) -> int:
        """As Vectors."""
        return int(self.faiss_index.ntotal)

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As Vectors."""
        if self._there:
            return best(*self._there.search(vectors, k), k)
        scores, rows = self.faiss_index.search(np.ascontiguousarray(vectors, dtype=np.float32), min(k, self.total))
        return scores, rows

    def cosines(self, vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """As Vectors."""
        if self._there:
            return self._there.cosines(vectors, queries, rows)
        found = np.empty(len(rows), np.float32)
        bounds = [0, *(np.flatnonzero(np.diff(queries)) + 1), len(rows)]
        for start, end in pairwise(bounds):  # one query's at a time
            if end > start:
                found[start:end] = self.faiss_index.reconstruct_batch(rows[start:end]) @ vectors[queries[start]]
        return found

    def to(self, device: str) -> Part:
        """Itself, with its vectors on that device too if it is a GPU with room for them (`has_room`). Search is exact there, whatever the
        index."""
        dtype = torch.float16 if hasattr(self.faiss_index, "nlist") else torch.float32  # lists keep no more of them
        if self.total and torch.device(device).type == "cuda" and has_room(self.total, self.faiss_index.d, dtype, device):
            self._there = OnDevice(self.faiss_index.reconstruct_n, (self.total, self.faiss_index.d), dtype, device)
        return self

    def save(self, file: Path) -> None:
        """Write it, atomically. What is mapped is copied: of lists that are mapped FAISS would write where they are."""
        if self.file is None:
            write_atomically(file, lambda stream: faiss.write_index(self.faiss_index, _SWIG.PyCallbackIOWriter(stream.write)))
        elif not (file.exists() and file.samefile(self.file)):
            with self.file.open("rb") as whole:
                write_atomically(file, lambda stream: shutil.copyfileobj(whole, stream))

    @classmethod
    def load(cls, file: Path) -> Part:
        """What `save` wrote, mapped into memory: the processes of one machine share it."""
        with file.open("rb") as stream:
            lists = stream.read(2) == b"Iw"  # of IndexIVF; FAISS maps lists of vectors by another flag than one array of them
        index = _SWIG.read_index(str(file), faiss.IO_FLAG_MMAP if lists else faiss.IO_FLAG_MMAP_IFC)
        if lists:
            index.make_direct_map()
        return cls(index, file)


Ask = Callable[[str, np.ndarray, Sequence[tuple[Any, ...]]], Sequence[Any]]


class InParts:
    """Parts of so many vectors each, one after another, that answer as one.

    `ask(what, vectors, more)` gives what each part's `search` or `cosines` answers about `vectors` and its own of `more`.
    """

    def __init__(self, totals: Sequence[int], ask: Ask) -> None:
        self._starts, self._ask = np.cumsum([0, *totals]), ask

    @property
    def total(self) -> int:
        """As Vectors."""
        return int(self._starts[-1])

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As Vectors."""
        found = self._ask("search", vectors, [(k,)] * (len(self._starts) - 1))
        rows = [np.where(rows < 0, -1, rows + start) for (_, rows), start in zip(found, self._starts[:-1], strict=True)]
        return best(np.hstack([scores for scores, _ in found]), np.hstack(rows), k)

    def cosines(self, vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """As Vectors."""
        part_of = np.searchsorted(self._starts, rows, side="right") - 1
        places = [np.flatnonzero(part_of == part) for part in range(len(self._starts) - 1)]
        more = [(queries[mine], rows[mine] - start) for mine, start in zip(places, self._starts[:-1], strict=True)]
        found = np.empty(len(rows), np.float32)
        for mine, cosines in zip(places, self._ask("cosines", vectors, more), strict=True):
            found[mine] = cosines
        return found


class PartsHere(InParts):
    """`parts` in this process."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        super().__init__([part.total for part in parts], each_of(parts))


def each_of(parts: Sequence[Vectors]) -> Ask:
    """Asks them one after another."""
    return lambda what, vectors, more: [getattr(part, what)(vectors, *told) for part, told in zip(parts, more, strict=True)]


def best(scores: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each query's (n_queries, m), descending; of equal ones the first rows, in however many parts they were found."""
    order = np.lexsort((rows, -scores))[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def bounds_of(total: int, parts: int) -> list[tuple[int, int]]:
    """(first row, the row after the last) of each of so many parts."""
    return list(pairwise(total * part // parts for part in range(parts + 1)))


def part_files(folder: Path) -> list[Path]:
    """The files in which an index keeps the knowledge base's vectors, in their order."""
    return sorted(folder.glob(ANY_FILE))


def save_parts(parts: Sequence[Part], folder: Path) -> None:
    """Write the parts of an index into `folder`, each atomically, in the place of those that are there."""
    names = [ONE_FILE] if len(parts) == 1 else [PART_FILE.format(number, len(parts)) for number in range(1, len(parts) + 1)]
    for part, name in zip(parts, names, strict=True):
        part.save(folder / name)
    for old in part_files(folder):
        if old.name not in names:
            old.unlink()


def load_parts(folder: Path, total: int) -> list[Part]:
    """What `save_parts` wrote, of `total` vectors in all. Raises RunError where it is not that."""
    parts = [Part.load(file) for file in part_files(folder)]
    check_total(folder, [part.total for part in parts], total)
    return parts


def check_total(folder: Path, totals: Sequence[int], total: int) -> None:
    """Raises RunError where the parts of an index do not hold so many vectors in all."""
    if sum(totals) != total:
        raise of_an_earlier_rpdr(f"{folder}: {ANY_FILE} holds {sum(totals):,} vectors of {total:,} names")


def of_an_earlier_rpdr(what: str) -> RunError:
    """An index that is not as it should be."""
    return RunError(f"{what}: an earlier rpdr made it; make it again by rpdr retriever --redo, then rpdr retune --redo")
