"""Vectors in a GPU's memory: exact search by matrix products, fast enough for millions of names without lists.

By PyTorch, which is there already: FAISS for GPUs is another wheel, which cannot be installed beside the one for CPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch

QUERIES = 1024  # at a time: a step's scores are (queries, names), and the fewer queries the more names
NUMBERS = 2**28  # in memory at once beside the vectors, of scores or of vectors in float32: one gibibyte each
READ = 2**18  # vectors read at a time


class OnDevice:
    """Vectors (total, d) on a device, kept in `dtype` and compared in float32; `read(first, many)` gives some, (many, d) float32."""

    def __init__(self, read: Callable[[int, int], np.ndarray], shape: tuple[int, int], dtype: torch.dtype, device: str) -> None:
        self.device, self._vectors = device, torch.empty(shape, dtype=dtype, device=device)
        for first, end in pairwise([*range(0, shape[0], READ), shape[0]]):
            self._vectors[first:end] = torch.from_numpy(read(first, end - first))

    @torch.inference_mode()
    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As Vectors, and exactly; in no order."""
        queries = self._there(vectors)
        found = [self._best(queries[first : first + QUERIES], k) for first in range(0, max(1, len(queries)), QUERIES)]
        scores, rows = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
        return scores, rows

    def _best(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        total, d = self._vectors.shape
        scores = torch.empty((len(queries), 0), device=self.device)
        rows = torch.empty((len(queries), 0), dtype=torch.int64, device=self.device)
        for first in range(0, total, step := max(k, NUMBERS // max(d, len(queries), 1))):
            some = self._vectors[first : first + step].float()
            found = torch.topk(queries @ some.T, min(k, len(some)), sorted=False)
            scores, rows = torch.hstack([scores, found.values]), torch.hstack([rows, found.indices + first])
            if scores.shape[1] > k:
                scores, kept = torch.topk(scores, k, sorted=False)
                rows = rows.gather(1, kept)
        return scores, rows

    @torch.inference_mode()
    def cosines(self, vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """As Vectors."""
        there, step = self._there(vectors), max(1, NUMBERS // self._vectors.shape[1])
        found = np.empty(len(rows), np.float32)
        for first in range(0, len(rows), step):
            asked, told = (torch.from_numpy(numbers[first : first + step]).to(self.device) for numbers in (queries, rows))
            found[first : first + step] = (self._vectors[told].float() * there[asked]).sum(1).cpu().numpy()
        return found

    def _there(self, vectors: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)).to(self.device)


def has_room(total: int, dimensions: int, dtype: torch.dtype, device: str) -> bool:
    """Whether so many vectors fit half of what this process has of a GPU's memory. Not of what is free, unless that is less: copies of a retriever would
    search exactly or not by who came first."""
    named = torch.device(device).index
    card = torch.cuda.current_device() if named is None else named  # not all of torch's functions know which "cuda" is
    free, whole = torch.cuda.mem_get_info(card)
    wanted = total * dimensions * dtype.itemsize
    return bool(wanted < whole * torch.cuda.get_per_process_memory_fraction(card) / 2 and wanted < free)
