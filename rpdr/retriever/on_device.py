"""Vectors in a GPU's memory: exact search by matrix products, fast enough for millions of names without lists.

By PyTorch, which is there already: FAISS for GPUs is another wheel, which cannot be installed beside the one for CPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch

SCORES = 2**28  # in memory at once: one gibibyte
READ = 2**18  # vectors read at a time


class OnDevice:
    """`total` vectors (total, d) on a device, kept in `dtype` and compared in float32; `read(first, many)` gives some, (many, d) float32."""

    def __init__(self, read: Callable[[int, int], np.ndarray], total: int, dtype: torch.dtype, device: str) -> None:
        self.total, self.device = total, device
        bounds = pairwise([*range(0, total, READ), total])
        self._vectors = torch.cat([torch.from_numpy(read(first, end - first)).to(device, dtype) for first, end in bounds])

    @torch.inference_mode()
    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As Vectors, and exactly; in no order, and with more columns than k where it takes more than one product."""
        queries, step = self._there(vectors), max(k, SCORES // max(1, len(vectors)))
        scores, rows = [], []
        for first in range(0, self.total, step):
            some = self._vectors[first : first + step].float()
            found = torch.topk(queries @ some.T, min(k, len(some)), sorted=False)
            scores.append(found.values)
            rows.append(found.indices + first)
        return torch.hstack(scores).cpu().numpy(), torch.hstack(rows).cpu().numpy()

    @torch.inference_mode()
    def cosines(self, vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """As Vectors."""
        asked, told = (torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device) for numbers in (queries, rows))
        found: np.ndarray = (self._vectors[told].float() * self._there(vectors)[asked]).sum(1).cpu().numpy()
        return found

    def _there(self, vectors: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)).to(self.device)


def has_room(total: int, dimensions: int, dtype: torch.dtype, device: str) -> bool:
    """Whether so many vectors fit half of the memory that is free on a GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    return bool(total * dimensions * dtype.itemsize < free / 2)
