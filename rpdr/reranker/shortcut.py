"""Which of the retriever's answers are taken without asking the student: those of a confidence at which dev shows that it would say the same.

A cascade (Viola & Jones 2001; for language models, Chen et al. 2023, arXiv 2305.05176), whose first, cheap stage is held to the second's answers
rather than to gold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from rpdr.files import read_json, write_json
from rpdr.reranker.abstention import OperatingPoint, once, operating_point
from rpdr.reranker.calibration import Calibration, fit_calibration

SHORTCUT_FILE = "shortcut.json"


@dataclass(frozen=True)
class Shortcut:
    """`calibration` makes probabilities of the retriever's scores; its answers of a confidence over `above` are taken (1: none is).

    `dev_…`, of each dev mention: the retriever's confidence (0 where it would say NIL, which is never taken), whether its first candidate is right,
    whether that is what the student says, and whether an exact name would decide it before either is asked.
    """

    calibration: Calibration
    dev_confidence: tuple[float, ...]
    dev_right: tuple[bool, ...]
    dev_same: tuple[bool, ...]
    dev_exact: tuple[bool, ...]
    above: float = 1.0

    @classmethod
    def load(cls, folder: Path) -> Shortcut | None:
        """What `save` wrote into the student's folder; None where it wrote nothing."""
        path = folder / SHORTCUT_FILE
        if not path.exists():
            return None
        told = read_json(path)
        confidence, right, same, exact = (tuple(told[name]) for name in ("dev_confidence", "dev_right", "dev_same", "dev_exact"))
        return cls(Calibration(**told["calibration"]), confidence, right, same, exact)

    def save(self, folder: Path) -> None:
        """As JSON, for whatever share is wanted later."""
        write_json(folder / SHORTCUT_FILE, {name: value for name, value in asdict(self).items() if name != "above"})

    def point(self, share: float, exact_match: bool) -> OperatingPoint:
        """From which confidence on dev shows, with 95 % certainty, that at least this share of the answers is the student's too; "right" is that. Each text
        counts once, as it is asked about once; with `exact_match` those alone that no exact name decides: the others never come so far, and agree nearly always."""
        mine = once(self.calibration.dev_text, len(self.dev_same))
        if exact_match:
            mine = mine[~np.array(self.dev_exact, dtype=bool)[mine]]
        return operating_point(np.array(self.dev_confidence)[mine], np.array(self.dev_same, dtype=bool)[mine], share)

    def at(self, share: float, exact_match: bool) -> Shortcut:
        """Taking what `point` shows; nothing where it shows nothing."""
        point = self.point(share, exact_match)
        return replace(self, above=point.above if point.reachable else 1.0)

    def probabilities(self, similarities: np.ndarray, allow_nil: bool) -> tuple[np.ndarray, np.ndarray]:
        """similarities (n, k), -inf where there is no candidate -> (probabilities (n, k + 1), "none of these" last; (n,) bool: is taken)."""
        probabilities = self.calibration.probabilities(_with_none(similarities))
        _, nil, confidence = self.calibration.decide(probabilities, allow_nil)
        return probabilities, ~nil & (confidence > self.above)

    def seen_by(self, calibration: Calibration) -> Calibration:
        """The student's, of the same dev mentions, with what they are answered now: the retriever's confidence, and whether it is right, where it is taken."""
        taken = np.array(self.dev_confidence) > self.above
        return replace(
            calibration,
            dev_confidence=tuple(np.where(taken, self.dev_confidence, calibration.dev_confidence).tolist()),
            dev_right=tuple(np.where(taken, self.dev_right, calibration.dev_right).tolist()),
        )


def fit_shortcut(
    similarities: np.ndarray,
    right: np.ndarray,
    student: Sequence[int | None],
    allow_nil: bool,
    nil: np.ndarray,
    exact: Sequence[bool],
    exact_match: bool,
    texts: Sequence[str] = (),
) -> Shortcut:
    """What dev tells of the retriever's answers.

    similarities (n, k); `right` (n, k + 1) bool: the candidates of the gold, or "none"; `student`, n: the place of its answer, None where that
    is not one candidate alone; `nil` (n,) bool: the gold is NIL; `exact`, n: an exact name decides it, or would, without
    `exact_match`; `texts`, n: of those that are asked alike the same.
    """
    asked = ~np.array(exact, dtype=bool) if exact_match else None
    calibration = fit_calibration(_with_none(similarities), right, "dev mentions", allow_nil, nil, asked=asked, texts=texts)
    best, said_nil, confidence = calibration.decide(calibration.probabilities(_with_none(similarities)), allow_nil)
    return Shortcut(
        calibration,
        tuple(np.where(said_nil, 0.0, confidence).tolist()),
        tuple(right[np.arange(len(best)), best].tolist()),
        tuple(not none and place == said for place, none, said in zip(best.tolist(), said_nil.tolist(), student, strict=True)),
        tuple(exact),
    )


def _with_none(similarities: np.ndarray) -> np.ndarray:
    return np.concatenate([similarities, np.zeros((len(similarities), 1))], axis=1)
