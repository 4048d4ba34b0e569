"""An index over every name of a knowledge base, kept as a folder: names.arrow, names.faiss (or, in parts, names-00001-of-00004.faiss and so on), and
aliases.faiss where there are any.

Takes unit vectors and returns names; what a concept's score is, is the retriever's business.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rpdr.machine import memory
from rpdr.retriever.vectors import InParts, Part, PartsHere, Vectors, best, bounds_of, each_of, load_parts, of_an_earlier_rpdr, save_parts
from rpdr.tables.mapped import Texts, map_arrow, write_arrow

_SWIG: Any = faiss  # what SWIG adds to it and its stubs lack
NAMES_FILE, ALIASES_FILE = "names.arrow", "aliases.faiss"
NAMES = pa.schema([pa.field("concept", pa.int32()), pa.field("name", pa.string()), pa.field("alias", pa.bool_())])
SMALL = 100_000  # names that are searched exactly, under "auto": about as fast as mentions are encoded, on the same cores
CHUNK = 50_000  # names encoded at a time: what a build holds in memory beside the index
PER_LIST = 40  # names a list's centre is learned from
ASKED, AT_10, ENOUGH = 500, 10, 0.99  # lists are searched until, of so many queries, this share of the exact search's first ten is found


@dataclass(frozen=True)
class Index:
    """`own`: the vectors of the knowledge base's names, `linked` those of linked mentions (None: there are none); `concept_rows` (n,) says which
    concept each name belongs to, `names` (n,) the text, the knowledge base's first.

    A vector's length is what a cosine with it counts: 1 for the knowledge base's own names, less for an alias at a discount.
    """

    own: Vectors
    concept_rows: np.ndarray
    names: Sequence[str]
    linked: Part | None = None

    @property
    def aliases(self) -> int:
        """How many of the last names are not the knowledge base's, but mentions that somebody has linked."""
        return self.linked.total if self.linked else 0

    @property
    def _all(self) -> InParts:
        parts = [part for part in (self.own, self.linked) if part and part.total]
        return InParts([part.total for part in parts], each_of(parts))

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(scores, rows), both (n_queries, k): cosine in [-1, 1] (an alias's at its discount), descending, and name rows (-1 where there are no
        more: fewer than k names, or none in those parts of an approximate index that were looked at)."""
        return self._all.search(vectors, k)

    def cosines(self, vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(n,) cosines of name `rows[i]` (an alias's at its discount) with query `queries[i]` of `vectors` (n_queries, d); `queries` ascending."""
        return self._all.cosines(vectors, queries, rows)

    def extended(self, vectors: np.ndarray, concept_rows: list[int], aliases: list[str]) -> Index:
        """The same with further aliases, whose vectors are (m, d) float32. The knowledge base's part is not copied."""
        known = self.linked.faiss_index.reconstruct_n(0, self.aliases) if self.linked else np.empty((0, vectors.shape[1]), np.float32)
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(np.vstack([known, vectors]), dtype=np.float32))
        rows = np.concatenate([self.concept_rows, np.asarray(concept_rows, dtype=np.int32)])
        names = self.names.with_more(aliases) if isinstance(self.names, Texts) else [*self.names, *aliases]
        return Index(self.own, rows, names, Part(index))

    def plain(self) -> Index:
        """The knowledge base's names alone."""
        total = self.own.total
        names = self.names.first(total) if isinstance(self.names, Texts) else self.names[:total]
        return Index(self.own, self.concept_rows[:total], names)

    def save(self, folder: Path) -> None:
        """Write the index into `folder`, each file atomically."""
        assert isinstance(self.own, PartsHere)  # what other processes hold is in a folder already
        save_parts(self.own.parts, folder)
        if self.linked:
            self.linked.save(folder / ALIASES_FILE)
        else:
            (folder / ALIASES_FILE).unlink(missing_ok=True)
        alias = np.arange(len(self.names)) >= self.own.total
        names = self.names.column if isinstance(self.names, Texts) else list(self.names)
        write_arrow(folder / NAMES_FILE, pa.table({"concept": self.concept_rows, "name": names, "alias": alias}, schema=NAMES))

    @classmethod
    def of_aliases(cls, vectors: np.ndarray, concept_rows: list[int], aliases: list[str]) -> Index:
        """An index of nothing else."""
        return cls(PartsHere([]), np.empty(0, np.int32), []).extended(vectors, concept_rows, aliases)

    @classmethod
    def load(cls, folder: Path, own: Callable[[int], Vectors] | None = None, device: str = "cpu") -> Index:
        """What `save` wrote, memory-mapped: the processes of one machine share it; searched on this `device`. `own`: what makes of their number the
        vectors of the knowledge base's names, where they are elsewhere. Raises RunError where an earlier rpdr's `save` did."""
        if not (folder / NAMES_FILE).exists():
            raise of_an_earlier_rpdr(f"{folder}: no {NAMES_FILE} here")
        table = map_arrow(folder / NAMES_FILE)
        aliases = pc.sum(table["alias"]).as_py() or 0
        total = table.num_rows - aliases
        linked = Part.load(folder / ALIASES_FILE).to(device) if aliases else None
        vectors = own(total) if own else PartsHere([part.to(device) for part in load_parts(folder, total)])
        return cls(vectors, table["concept"].to_numpy(), Texts(table["name"]), linked)


Encode = Callable[[Sequence[str]], np.ndarray]  # texts -> unit vectors (n, d)


def build_index(
    encode: Encode, concept_rows: Sequence[int], names: Sequence[str], kind: str = "auto", asked: Sequence[str] = (), parts: int = 1
) -> Index:
    """Index `names`, encoding some at a time.

    `kind`: "flat" (exact); "ivf" (lists of like vectors, in 16-bit floats, or in 8 bits where these would take half of the memory that there is; for
    millions of names; Jégou et al. 2011), of which as many are searched as it takes to find what exact search finds for texts like `asked`;
    "hnsw" (Malkov & Yashunin 2018); "auto": flat up to SMALL names, then ivf. Of several `parts` one is in memory at a time: each is written into a
    temporary folder, and mapped.
    """
    if kind == "auto":
        kind = "flat" if len(names) <= SMALL else "ivf"
    texts = asked or names
    asked = [texts[row] for row in _sampled(len(texts), ASKED).tolist()]
    rows = np.asarray(concept_rows, dtype=np.int32)
    if parts == 1:
        return Index(PartsHere([Part(_built(encode, names, kind, asked))]), rows, names)
    folder = tempfile.TemporaryDirectory(prefix="rpdr-index-")
    mapped = []
    for number, (start, end) in enumerate(bounds_of(len(names), min(parts, len(names)))):
        file = Path(folder.name, str(number))
        Part(_built(encode, names[start:end], kind, asked)).save(file)
        mapped.append(Part.load(file))
    own = PartsHere(mapped)
    weakref.finalize(own, folder.cleanup)
    return Index(own, rows, names)


def _built(encode: Encode, names: Sequence[str], kind: str, asked: Sequence[str]) -> Any:
    """A FAISS index of this kind."""
    count = max(1, min(int(2 * len(names) ** 0.5), len(names) // PER_LIST))  # lists, about two for the root of the names' number
    chosen = _sampled(len(names), PER_LIST * count) if kind == "ivf" else np.arange(min(len(names), CHUNK))
    known = np.ascontiguousarray(encode([names[row] for row in chosen.tolist()]), dtype=np.float32)  # encoded once, learned from and added
    dimensions = known.shape[1]
    if kind == "ivf":
        index = _lists(known, count, len(names))
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(dimensions, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 128, 64
    else:
        index = faiss.IndexFlatIP(dimensions)
    queries = encode(asked) if kind == "ivf" else np.empty((0, dimensions), np.float32)
    exact = Nearest(queries, AT_10)
    for start in range(0, len(names), CHUNK):
        some = names[start : start + CHUNK]
        here = slice(*np.searchsorted(chosen, [start, start + len(some)]))
        new = np.ones(len(some), dtype=bool)
        new[chosen[here] - start] = False
        vectors = np.empty((len(some), dimensions), np.float32)
        vectors[~new] = known[here]
        if new.any():
            vectors[new] = encode([some[row] for row in np.flatnonzero(new).tolist()])
        exact.see(vectors)
        index.add(vectors)
    if kind == "ivf":
        _search_enough(index, queries, exact.rows)
        index.make_direct_map()
    return index


def _lists(learned_from: np.ndarray, count: int, names: int) -> Any:
    """A trained, empty index of so many lists, for so many names."""
    dimensions = learned_from.shape[1]
    small = 2 * dimensions * names < memory() / 2
    index = _SWIG.index_factory(dimensions, f"IVF{count},{'SQfp16' if small else 'SQ8'}", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # or it complains of few names, as tests have
    index.train(learned_from)
    return index


def _sampled(of: int, count: int) -> np.ndarray:
    """So many different numbers below `of`, ascending, the same each time."""
    return np.sort(np.random.default_rng(0).permutation(of)[:count])


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
            self._scores, self.rows = best(scores, rows, self.k)
        self.seen += len(vectors)


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
