"""A FAISS index over every name of a knowledge base, kept as a folder: names.faiss, names.arrow, and aliases.faiss where there are any.

Takes unit vectors and returns names; what a concept's score is, is the retriever's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc

from rpdr.errors import RunError
from rpdr.files import write_atomically
from rpdr.kb.mapped import Texts, map_arrow, write_arrow

_SWIG: Any = faiss  # what SWIG adds to it and its stubs lack
NAMES_FILE, VECTORS_FILE, ALIASES_FILE = "names.arrow", "names.faiss", "aliases.faiss"
NAMES = pa.schema([pa.field("concept", pa.int32()), pa.field("name", pa.string()), pa.field("alias", pa.bool_())])
SMALL = 100_000  # names that are searched exactly, under "auto": about as fast as mentions are encoded, on the same cores
CHUNK = 50_000  # names encoded at a time: what a build holds in memory beside the index
PER_LIST = 40  # names a list's centre is learned from
ASKED, AT_10, ENOUGH = 500, 10, 0.99  # lists are searched until, of so many queries, this share of the exact search's first ten is found


@dataclass(frozen=True)
class Index:
    """`faiss_index` over the knowledge base's names, `alias_index` over linked mentions (None: there are none); `concept_rows` (n,) says which
    concept each name belongs to, `names` (n,) the text, the knowledge base's first.

    A vector's length is what a cosine with it counts: 1 for the knowledge base's own names, less for an alias at a discount.
    """

    faiss_index: Any
    concept_rows: np.ndarray
    names: Sequence[str]
    alias_index: Any = None

    @property
    def aliases(self) -> int:
        """How many of the last names are not the knowledge base's, but mentions that somebody has linked."""
        return int(self.alias_index.ntotal) if self.alias_index else 0

    @property
    def own(self) -> int:
        """How many of the first names are the knowledge base's."""
        return int(self.faiss_index.ntotal)

    @property
    def _parts(self) -> list[tuple[Any, int]]:
        """(FAISS index that is not empty, the row of its first name)."""
        return [(index, first) for index, first in ((self.faiss_index, 0), (self.alias_index, self.own)) if index and index.ntotal]

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(scores, rows), both (n_queries, k): cosine in [-1, 1] (an alias's at its discount), descending, and name rows (-1 where there are no
        more: fewer than k names, or none in those parts of an approximate index that were looked at)."""
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        found = [(*index.search(vectors, min(k, index.ntotal)), first) for index, first in self._parts]
        return _best(
            np.hstack([scores for scores, _, _ in found]), np.hstack([np.where(rows < 0, -1, rows + n) for _, rows, n in found]), k
        )

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """The vectors (n, d) of name rows (n,)."""
        found = np.empty((len(rows), self.faiss_index.d), np.float32)
        for index, first in self._parts:
            mine = (rows >= first) & (rows < first + index.ntotal)
            found[mine] = index.reconstruct_batch(rows[mine] - first)
        return found

    def extended(self, vectors: np.ndarray, concept_rows: list[int], aliases: list[str]) -> Index:
        """The same with further aliases, whose vectors are (m, d) float32. The knowledge base's part is not copied."""
        known = self.alias_index.reconstruct_n(0, self.aliases) if self.aliases else np.empty((0, self.faiss_index.d), np.float32)
        index = faiss.IndexFlatIP(self.faiss_index.d)
        index.add(np.ascontiguousarray(np.vstack([known, vectors]), dtype=np.float32))
        rows = np.concatenate([self.concept_rows, np.asarray(concept_rows, dtype=np.int32)])
        return Index(self.faiss_index, rows, [*self.names, *aliases], index)

    def save(self, folder: Path) -> None:
        """Write the index into `folder`, each file atomically."""
        _write(self.faiss_index, folder / VECTORS_FILE)
        if self.aliases:
            _write(self.alias_index, folder / ALIASES_FILE)
        else:
            (folder / ALIASES_FILE).unlink(missing_ok=True)
        alias = np.arange(len(self.names)) >= self.own
        write_arrow(folder / NAMES_FILE, pa.table({"concept": self.concept_rows, "name": list(self.names), "alias": alias}, schema=NAMES))

    @classmethod
    def of_aliases(cls, vectors: np.ndarray, concept_rows: list[int], aliases: list[str]) -> Index:
        """An index of nothing else."""
        return cls(faiss.IndexFlatIP(vectors.shape[1]), np.empty(0, np.int32), []).extended(vectors, concept_rows, aliases)

    @classmethod
    def load(cls, folder: Path) -> Index:
        """What `save` wrote, memory-mapped: the processes of one machine share it. Raises RunError where an earlier rpdr's did."""
        if not (folder / NAMES_FILE).exists():
            raise _of_an_earlier_rpdr(f"{folder}: no {NAMES_FILE} here")
        table = map_arrow(folder / NAMES_FILE)
        aliases = pc.sum(table["alias"]).as_py() or 0
        index = _mapped(folder / VECTORS_FILE)
        if index.ntotal + aliases != table.num_rows:
            raise _of_an_earlier_rpdr(f"{folder / VECTORS_FILE}: holds {index.ntotal:,} vectors of {table.num_rows - aliases:,} names")
        alias_index = _mapped(folder / ALIASES_FILE) if aliases else None
        return cls(index, table["concept"].to_numpy(), Texts(table["name"]), alias_index)


Encode = Callable[[Sequence[str]], np.ndarray]  # texts -> unit vectors (n, d)


def build_index(encode: Encode, concept_rows: Sequence[int], names: Sequence[str], kind: str = "auto", asked: Sequence[str] = ()) -> Index:
    """Index `names`, encoding some at a time.

    `kind`: "flat" (exact); "ivf" (lists of like vectors, in 16-bit floats, or in 8 bits where these would take half of the machine's memory; for
    millions of names; Jégou et al. 2011), of which as many are searched as it takes to find what exact search finds for texts like `asked`;
    "hnsw" (Malkov & Yashunin 2018); "auto": flat up to SMALL names, then ivf.
    """
    if kind == "auto":
        kind = "flat" if len(names) <= SMALL else "ivf"
    first = encode(names[:CHUNK])
    if kind == "ivf":
        index = _lists(encode, first.shape[1], names)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(first.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 128, 64
    else:
        index = faiss.IndexFlatIP(first.shape[1])
    queries = encode(_sample(asked or names, ASKED)) if kind == "ivf" else np.empty((0, first.shape[1]), np.float32)
    exact = Nearest(queries, AT_10)
    for start in range(0, len(names), CHUNK):
        vectors = np.ascontiguousarray(encode(names[start : start + CHUNK]) if start else first, dtype=np.float32)
        exact.see(vectors)
        index.add(vectors)
    if kind == "ivf":
        _search_enough(index, queries, exact.rows)
        index.make_direct_map()
    return Index(index, np.asarray(concept_rows, dtype=np.int32), names)


def _lists(encode: Encode, dimensions: int, names: Sequence[str]) -> Any:
    """A trained, empty index of about two lists for the root of the names' number."""
    count = max(1, min(int(2 * len(names) ** 0.5), len(names) // PER_LIST))
    small = 2 * dimensions * len(names) < psutil.virtual_memory().total / 2
    index = _SWIG.index_factory(dimensions, f"IVF{count},{'SQfp16' if small else 'SQ8'}", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # or it complains of few names, as tests have
    index.train(np.ascontiguousarray(encode(_sample(names, PER_LIST * count)), dtype=np.float32))
    return index


def _sample(texts: Sequence[str], count: int) -> list[str]:
    """So many of the texts, the same each time."""
    chosen = np.random.default_rng(0).permutation(len(texts))[:count]
    return [texts[row] for row in np.sort(chosen)]


class Nearest:
    """The rows of the most similar vectors of all that were seen, by exact search: `rows` (n_queries, k)."""

    def __init__(self, queries: np.ndarray, k: int) -> None:
        self.queries, self.k, self.seen = queries, k, 0
        self.rows = np.empty((len(queries), 0), np.int64)
        self._scores = np.empty((len(queries), 0), np.float32)

    def see(self, vectors: np.ndarray) -> None:
        """The next vectors (n, d)."""
        if len(self.queries):
            scores, rows = faiss.knn(self.queries, vectors, min(self.k, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)
            scores, rows = np.hstack([self._scores, scores]), np.hstack([self.rows, rows + self.seen])
            self._scores, self.rows = _best(scores, rows, self.k)
        self.seen += len(vectors)


def _best(scores: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each query's (n_queries, m), descending."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)


def _search_enough(index: Any, queries: np.ndarray, exact: np.ndarray) -> None:
    """Set how many lists are searched: the least power of 2 at which ENOUGH of the exact search's rows are found."""
    index.nprobe = 1
    while index.nprobe < index.nlist:
        _, found = index.search(queries, exact.shape[1])
        if share_found(found, exact) >= ENOUGH:
            return
        index.nprobe = min(2 * index.nprobe, index.nlist)


def share_found(found: np.ndarray, exact: np.ndarray) -> float:
    """How many of the exact search's rows (n_queries, k) another search has found."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]))


def _write(index: Any, path: Path) -> None:
    def write(file: Any) -> None:
        faiss.write_index(index, _SWIG.PyCallbackIOWriter(file.write))

    write_atomically(path, write)


def _mapped(path: Path) -> Any:
    """A FAISS index in a file, mapped into memory."""
    with path.open("rb") as file:
        lists = file.read(2) == b"Iw"  # of IndexIVF; FAISS maps lists of vectors by another flag than one array of them
    index = _SWIG.read_index(str(path), faiss.IO_FLAG_MMAP if lists else faiss.IO_FLAG_MMAP_IFC)
    if lists:
        index.make_direct_map()
    return index


def _of_an_earlier_rpdr(what: str) -> RunError:
    return RunError(f"{what}: an earlier rpdr made it; make it again by rpdr retriever --redo, then rpdr retune --redo")
