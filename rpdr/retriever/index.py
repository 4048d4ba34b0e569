"""A FAISS index over every name of a knowledge base, kept as a folder: names.faiss, names.arrow.

Takes unit vectors and returns names; what a concept's score is, is the retriever's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rpdr.errors import RunError
from rpdr.files import write_atomically
from rpdr.kb.mapped import Texts, map_arrow, write_arrow

NAMES_FILE = "names.arrow"
NAMES = pa.schema([pa.field("concept", pa.int32()), pa.field("name", pa.string()), pa.field("alias", pa.bool_())])


@dataclass(frozen=True)
class Index:
    """`faiss_index` over n vectors; `concept_rows` (n,) says which concept each name belongs to; `names` (n,) the text.

    The last `aliases` names are not the knowledge base's, but mentions that somebody has linked. A vector's length is what a cosine with it
    counts: 1 for the knowledge base's own names, less for an alias at a discount.
    """

    faiss_index: Any
    concept_rows: np.ndarray
    names: Sequence[str]
    aliases: int = 0

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(scores, rows), both (n_queries, k): cosine in [-1, 1] (an alias's at its discount), descending, and name rows (-1 where there are fewer than k)."""
        return self.faiss_index.search(np.ascontiguousarray(vectors, dtype=np.float32), min(k, len(self.names)))

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """The vectors (n, d) of name rows (n,)."""
        return self.faiss_index.reconstruct_batch(rows)

    def extended(self, vectors: np.ndarray, concept_rows: list[int], aliases: list[str]) -> Index:
        """A copy with aliases, whose vectors are (m, d) float32."""
        index = faiss.deserialize_index(faiss.serialize_index(self.faiss_index))  # a copy in memory, of a mapped one too
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        rows = np.concatenate([self.concept_rows, np.asarray(concept_rows, dtype=np.int32)])
        return Index(index, rows, [*self.names, *aliases], self.aliases + len(aliases))

    def save(self, folder: Path) -> None:
        """Write the index into `folder`, each file atomically."""
        data = faiss.serialize_index(self.faiss_index)
        write_atomically(folder / "names.faiss", lambda file: file.write(data.tobytes()))
        alias = np.arange(len(self.names)) >= len(self.names) - self.aliases
        write_arrow(folder / NAMES_FILE, pa.table({"concept": self.concept_rows, "name": list(self.names), "alias": alias}, schema=NAMES))

    @classmethod
    def load(cls, folder: Path) -> Index:
        """What `save` wrote, memory-mapped: the processes of one machine share it. Raises RunError where an earlier rpdr's did."""
        if not (folder / NAMES_FILE).exists():
            raise RunError(
                f"{folder}: no {NAMES_FILE} here: an earlier rpdr made it; make it again by rpdr retriever --redo, then rpdr retune --redo"
            )
        index = faiss.read_index(str(folder / "names.faiss"), faiss.IO_FLAG_MMAP_IFC)
        table = map_arrow(folder / NAMES_FILE)
        return cls(index, table["concept"].to_numpy(), Texts(table["name"]), pc.sum(table["alias"]).as_py() or 0)


def build_index(vectors: np.ndarray, concept_rows: list[int], names: list[str], kind: str, aliases: int = 0) -> Index:
    """Index vectors (n, d) float32, of which the last `aliases` are of linked mentions. `kind`: "flat" (exact) or "hnsw" (approximate, for millions of names; Malkov & Yashunin 2018)."""
    dimensions = vectors.shape[1]
    if kind == "hnsw":
        index: Any = faiss.IndexHNSWFlat(dimensions, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 128, 64
    else:
        index = faiss.IndexFlatIP(dimensions)
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    return Index(index, np.asarray(concept_rows, dtype=np.int32), names, aliases)
