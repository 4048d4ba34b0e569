"""Score and rank with a trained student, without Ray: queries in, probabilities out. Usable in a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from rpdr.config import StudentConfig
from rpdr.models import best_device
from rpdr.reranker.calibration import Calibration
from rpdr.reranker.merged import load_merged
from rpdr.reranker.prompt import Query
from rpdr.reranker.sequences import SequenceStudent
from rpdr.reranker.shortcut import Shortcut
from rpdr.reranker.student import Student

PAIRS = (
    2**25
)  # of tokens that may look at each other, in the blocks of a batch: what attention holds grows with them (128 MiB a head, in float32)
CALIBRATION_FILE = "calibration.json"


class Reranker:
    """A student and its calibration on one device; and, of a run's student, which of the retriever's answers need not be asked about."""

    shortcut: Shortcut | None = None

    def __init__(self, student: Student | SequenceStudent, calibration: Calibration, batch_size: int, device: str | None = None) -> None:
        self.device = device or best_device()
        self.student, self.calibration, self.batch_size = student.to(self.device).eval(), calibration, batch_size

    @classmethod
    def load(cls, folder: str | Path, config: StudentConfig | None = None, batch_size: int = 32, device: str | None = None) -> Reranker:
        """From a run's student folder with its config, or from an export, which needs none. Raises ModelError if it cannot be loaded."""
        folder, device = Path(folder), device or best_device()
        calibration = Calibration.load(folder / CALIBRATION_FILE)
        student = load_merged(folder, device) if config is None else Student.load(folder, config, device).merged()
        return cls(student, calibration, batch_size, device)

    @torch.inference_mode()
    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """(n, k + 1) float32 for n queries of at most k candidates: -inf where a query has fewer, "none of these" last."""
        place = {query: n for n, query in enumerate(dict.fromkeys(queries))}  # repeats are scored once
        k = max((len(query.candidate_names) for query in place), default=0)
        out = np.full((len(place), k + 1), -np.inf, dtype=np.float32)
        tokens = [self.student.prompt.tokens(query) for query in place]
        for rows in self.together([len(each) for each in tokens]):
            scores = self.student.read([tokens[row] for row in rows]).cpu().numpy()
            out[rows, : scores.shape[1] - 1] = scores[:, :-1]
            out[rows, k] = scores[:, -1]
        return out[[place[query] for query in queries]]

    def together(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Which are read at once: like lengths together, as that is less padding, and of long ones fewer."""
        rows: list[int] = []
        for row in sorted(range(len(lengths)), key=lengths.__getitem__):
            if rows and (len(rows) == self.batch_size or (len(rows) + 1) * lengths[row] ** 2 > PAIRS):
                yield rows
                rows = []
            rows.append(row)
        if rows:
            yield rows

    def probabilities(self, queries: Sequence[Query]) -> np.ndarray:
        """(n, k + 1) calibrated probabilities, "none of these" last; rows sum to 1."""
        return self.calibration.probabilities(self.scores(queries))
