"""When to say nothing: the confidence above which held-out mentions show that a wanted precision is reached.

Knows confidences and whether they were right, nothing of scores or texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, betaincinv

CERTAINTY = 0.95  # with which dev must show the target, over the draw of the dev mentions
STARTS = (0.0, 0.1, 0.3)  # where, on the way from strict to loose, a sequence of tests begins; they share 1 - CERTAINTY
LEVELS = 30  # thresholds on that way
ALIKE = 2e-6  # confidences nearer than that are no threshold apart: linked in another batch, or stored, they differ by rounding


@dataclass(frozen=True)
class OperatingPoint:
    """Where to abstain for a target precision, and what dev shows there.

    `reachable`: whether dev shows the target at any threshold. Where it does not, all is withheld but what an exact name decides, and that
    too if dev has found such names wrong more often than the target allows.
    """

    target: float
    reachable: bool
    above: float  # answers of a higher confidence are given; 1 where nothing is
    mentions: int  # of dev, each text once
    answered: int  # of them at this threshold
    right: int  # of these
    shown: float | None  # the least precision that dev shows at this threshold; None where it answers nothing
    most: float | None = None  # where the target is not reachable: the highest one that is, in whole percents; None: none from 50 % up
    exact: float = 1.0  # how often an exact name was right on dev, each text once

    def gives(self, confidence: float, exact: bool = False) -> bool:
        """Whether an answer of this confidence is given; `exact`: an exact name decided it."""
        return confidence > self.above if self.reachable else exact and self.exact >= self.target

    def warning(self) -> str | None:
        """What a user must know where the target is not reachable: one sentence or two."""
        if self.reachable:
            return None
        least = f"{100 * self.target:g}% needs at least {fewest(self.target):,} answers without an error"
        if not self.mentions:
            seen = f"there are none to show it ({least})"
        elif self.most is None:
            seen = f"its {self.mentions:,} different mentions show no precision from 50% up ({least})"
        else:
            seen = f"its {self.mentions:,} different mentions show {100 * self.most:g}% at most ({least})"
        return (
            f"dev cannot show link.target_precision {self.target:g}: {seen}. All is abstained from but exact names. "
            "Lower the target, or annotate more dev mentions"
        )


def operating_point(confidences: np.ndarray, right: np.ndarray, target: float) -> OperatingPoint:
    """The loosest threshold at which n held-out answers show that their precision is at least `target`, in (0, 1).

    `confidences`, (n,) in [0, 1], and whether each answer is `right`, (n,) bool; of mentions of one text one (`once`): they are answered alike, and seventy of
    them show no more than one does.

    How: "the precision above this threshold is below the target" is tested by the exact binomial test, at thresholds that answer ever more
    mentions (LEVELS of them, by rank), from strict to loose until the first that is not rejected, three times from STARTS, each at a third of
    1 - CERTAINTY: fixed-sequence testing with several starts (Learn then Test, Angelopoulos et al. 2021, arXiv 2110.01052, after Bauer
    1991; for selective answers, Angelopoulos & Bates 2021, arXiv 2107.07511, section on selective classification). What is counted are the
    held-out answers strictly above a held-out confidence: given it, they are drawn as whatever else is above it. The threshold lies in the middle between
    it and the lowest of them, of which the same are above: what dev has answered is answered so when it is linked, for all that is rounded on the way.

    Guaranteed, with probability CERTAINTY over the draw of the held-out texts: the precision, over all different texts that will be answered, is at least
    the target; if those texts are drawn independently from what will be linked, and if a higher threshold is never less precise.
    Not guaranteed: the precision weighed by how often a text is met, or of one batch, concept, type or document, or after the texts, the knowledge base or the student change;
    or where the held-out mentions come from a few documents, or were also used to choose the student (`student.early_stop`). Some
    sixteen numbers are fitted on the same mentions, which the proof leaves out: the retriever's commonness (4) and discount (1), the student's balance (4),
    temperature, shift and sigmoid (4), the threshold and share of NIL (2), where answers have several concepts their threshold (1). In 200 draws each of 150
    to 800 mentions from two finished runs, each with its own temperature, shift and NIL threshold and all else as it was, the target was missed in 3 at most.
    """
    found = _loosest(confidences, right, target)
    if found is None:
        most = next(
            (t / 100 for t in range(math.ceil(100 * target) - 1, 49, -1) if _loosest(confidences, right, t / 100) is not None), None
        )
        return OperatingPoint(target, False, 1.0, len(right), 0, 0, None, most)
    given = confidences > found
    n, good = int(given.sum()), int(right[given].sum())
    return OperatingPoint(target, True, found, len(right), n, good, lower_bound(good, n))


def once(texts: Sequence[int], n: int) -> np.ndarray:
    """Of n mentions the first of each text, by rising place; `texts`: the number of each one's text, or nothing, where each is one of its own."""
    return np.sort(np.unique(texts, return_index=True)[1]) if len(texts) else np.arange(n)


def lower_bound(right: int, n: int, certainty: float = CERTAINTY) -> float:
    """The one-sided lower bound of a share, `right` of `n` >= 1 (Clopper & Pearson 1934), at a threshold fixed beforehand."""
    return float(betaincinv(right, n - right + 1, 1 - certainty)) if right else 0.0


def fewest(target: float) -> int:
    """How many answers, all of them right, show a precision of at least `target`."""
    return math.ceil(math.log((1 - CERTAINTY) / len(STARTS)) / math.log(target))


def _loosest(confidences: np.ndarray, right: np.ndarray, target: float) -> float | None:
    """The lowest threshold that the tests allow; None: none."""
    n, least = len(right), fewest(target)
    if n < least:
        return None
    order = np.argsort(-confidences, kind="stable")
    falling, wrong = np.append(confidences[order], 0.0), np.cumsum(~right[order])
    cuts = _cuts(falling)
    # among those that are alike a threshold answers fewer than its rank; it is no test where these are too few
    found = np.searchsorted(cuts, np.linspace(least, n, LEVELS).round(), side="right") - 1
    answered = np.unique(cuts[found[found >= 0]])
    answered = answered[answered >= least]
    # p-values of: what is answered above this threshold is right less often than the target
    shown = (bdtr(wrong[answered - 1], answered, 1 - target) <= (1 - CERTAINTY) / len(STARTS)).tolist()
    ends = (_run(shown, int(start * len(shown))) for start in STARTS)
    last = max((end for end in ends if end is not None), default=None)
    return None if last is None else _middle(falling, int(answered[last]))


def _cuts(falling: np.ndarray) -> np.ndarray:
    """How many of falling confidences, behind which stands a 0, a threshold can answer: as many as stand before a gap. A threshold of 0 answers all that
    are over it, as a confidence is."""
    before, behind = falling[:-1], falling[1:]
    return np.flatnonzero(np.where(behind > 0, before - behind > ALIKE, before > 0)) + 1


def _middle(falling: np.ndarray, answered: int) -> float:
    """The threshold that answers so many of them."""
    return float((falling[answered - 1] + falling[answered]) / 2) if falling[answered] > 0 else 0.0


def _run(shown: Sequence[bool], start: int) -> int | None:
    """The last place of the unbroken run of true that begins at `start`; None where it does not begin."""
    length = next((n for n, good in enumerate(shown[start:]) if not good), len(shown) - start)
    return start + length - 1 if length else None
