"""From scores to probabilities: one temperature and one shift of "none of these", fitted on held-out gold; how sure an answer is, and when it is NIL.

Temperature scaling is Guo et al. 2017 (arXiv 1706.04599); the shift is its vector form with one free class. How sure an answer is, is Platt's sigmoid
(1999, Probabilistic outputs for support vector machines) of its probability, as several candidates may be right, of which a softmax has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import compress
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, logsumexp, softmax

from rpdr.files import read_json, write_json
from rpdr.reranker.abstention import OperatingPoint, once, operating_point

FEW = 20  # texts: mentions of fewer are too few to fit on
PULL = 2.0  # mentions' worth of belief that a probability is as sure as it says: of few right answers without an error the likeliest sigmoid is flat


@dataclass(frozen=True)
class Calibration:
    """probability = softmax((score + none_shift for "none") / temperature), and a candidate's confidence = sigmoid(sure_scale * logit(probability) +
    sure_shift). `fitted_on` says which mentions, and how many.

    "None of these" is often the retriever's miss rather than NIL, a concept that the knowledge base lacks: NIL is answered only where
    "none" has a probability above `nil_above`, and its confidence is that probability times `nil_share`. Where a mention may name several
    concepts, those above `also_above` are in the answer beside the best. `dev_…`: of each mention that it was
    fitted on the student's confidence, whether its answer was right, where an exact name would have decided, whether that was, and the number of its text.
    """

    temperature: float = 1.0
    none_shift: float = 0.0
    nil_above: float = 0.5
    fitted_on: str = "nothing"
    nil_share: float = 1.0
    also_above: float = 1.0
    sure_scale: float = 1.0
    sure_shift: float = 0.0
    dev_confidence: tuple[float, ...] = ()
    dev_right: tuple[bool, ...] = ()
    dev_exact: tuple[bool | None, ...] = ()
    dev_text: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # from JSON
                object.__setattr__(self, field.name, tuple(value))

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """What `save` wrote; the plain softmax where there is no such file."""
        return cls(**read_json(path)) if path.exists() else cls()

    def save(self, path: Path) -> None:
        """As JSON."""
        write_json(path, asdict(self))

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """scores (n, k + 1) -> probabilities (n, k + 1); rows sum to 1."""
        return softmax(self._shifted(scores), axis=1)

    def decide(self, probabilities: np.ndarray, allow_nil: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """probabilities (n, k + 1), "none" among them -> of n answers (the place of the best candidate, whether it is NIL, its confidence).

        With `allow_nil` false NIL is never the answer, but "none" keeps its probability: that no candidate is right is possible all the same.
        """
        best = np.argmax(probabilities[:, :-1], axis=1)
        none = probabilities[:, -1]
        nil = (none > self.nil_above) & allow_nil
        return best, nil, np.where(nil, none * self.nil_share, self.sure(probabilities[np.arange(len(best)), best]))

    def sure(self, probabilities: np.ndarray) -> np.ndarray:
        """Of candidates' `probabilities` their confidence: how often such a candidate is right, be it the only one or not. In the same order."""
        if (self.sure_scale, self.sure_shift) == (1.0, 0.0):
            return probabilities
        found: np.ndarray = expit(self.sure_scale * _logits(probabilities) + self.sure_shift)
        return found

    @property
    def exact_confidence(self) -> float:
        """The confidence of what an exact name decides: how often that was right on dev, with one right one more; so 1 where dev has none."""
        return _right_share(self.dev_exact)

    def operating_point(self, target: float, exact_match: bool) -> OperatingPoint:
        """Where to abstain so that what is answered has the precision `target`, by the dev mentions; see abstention.operating_point."""
        confidence, right = np.array(self.dev_confidence, dtype=float), np.array(self.dev_right, dtype=bool)
        if exact_match:
            exact = np.array([decided is not None for decided in self.dev_exact], dtype=bool)
            confidence[exact] = self.exact_confidence
            right[exact] = [decided for decided in self.dev_exact if decided is not None]
        mine = once(self.dev_text, len(right))
        names = [self.dev_exact[n] for n in mine] if self.dev_exact else []
        return replace(operating_point(confidence[mine], right[mine], target), exact=_right_share(names))

    def _shifted(self, scores: np.ndarray) -> np.ndarray:
        shifted = scores.astype(np.float64)
        shifted[:, -1] += self.none_shift
        return shifted / self.temperature


UNFITTED = Calibration(nil_above=1.0)  # where dev cannot tell when NIL is right: "none of these" is more often the retriever's miss


def fit_calibration(
    scores: np.ndarray,
    right: np.ndarray,
    fitted_on: str,
    allow_nil: bool = True,
    nil: np.ndarray | None = None,
    exact: Sequence[bool | None] = (),
    asked: np.ndarray | None = None,
    texts: Sequence[str] = (),
) -> Calibration:
    """The likeliest temperature and shift for scores (n, k + 1), where `right` (n, k + 1) bool are the candidates of the gold, or "none".

    `fitted_on`: which mentions they are, without their number.
    `nil` (n,) bool: the gold is NIL; where it is told, and `allow_nil`, `nil_above` is set so that the most mentions are answered rightly (1, never,
    where none is NIL: "none of these" is then a miss of the retriever), and `nil_share` to how often NIL was right there for what "none" promised. `exact`, n of them: whether an exact name, if one decides, is right.
    `asked` (n,) bool: those that the student is asked about, if not all; it is fitted on them alone, where they are of FEW texts or more. `texts`, n of
    them: of those that are asked alike the same; without them each is one of its own.
    Mentions of fewer than FEW texts are too few to fit on, as repeats tell nothing new: probabilities are then the plain softmax, and NIL is never the answer.
    """
    everyone = np.ones(len(right), dtype=bool)
    if different(texts, everyone) < FEW:
        return UNFITTED
    told, nil = nil is not None, np.zeros(len(right), dtype=bool) if nil is None else nil
    mine = asked if asked is not None and different(texts, asked) >= FEW else everyone

    temperature, shift = _likeliest(scores[mine], right[mine])
    fitted = Calibration(temperature, shift, fitted_on=f"{mine.sum()} {fitted_on}")
    p = fitted.probabilities(scores)
    hit = right[np.arange(len(p)), np.argmax(p[:, :-1], axis=1)]
    if allow_nil and told:
        above = np.clip(-nil_threshold(-p[mine, -1], hit[mine], nil[mine]), 0.0, 1.0) if nil[mine].any() else 1.0
        fitted = replace(fitted, nil_above=float(above))
    _, said_nil, confidence = fitted.decide(p, allow_nil)
    linked, silent = mine & ~said_nil, mine & said_nil
    sure_scale, sure_shift = _sigmoid(confidence[linked], hit[linked]) if different(texts, linked) >= FEW else (1.0, 0.0)
    share = min(1.0, (nil[silent].sum() + 1) / (confidence[silent].sum() + 1))  # with one right one more, as few are NIL
    fitted = replace(fitted, sure_scale=sure_scale, sure_shift=sure_shift, nil_share=float(share))
    _, _, confidence = fitted.decide(p, allow_nil)
    answered_right = np.where(said_nil, nil, hit)
    return replace(
        fitted,
        dev_confidence=tuple(confidence.tolist()),
        dev_right=tuple(answered_right.tolist()),
        dev_exact=tuple(exact) or (None,) * len(hit),
        dev_text=tuple(map({text: n for n, text in enumerate(dict.fromkeys(texts))}.__getitem__, texts)),
    )


def _likeliest(scores: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """The (temperature, shift of "none") under which what is right has the greatest likelihood; both (n, k + 1)."""

    def loss(parameters: np.ndarray) -> float:
        candidate = Calibration(float(np.exp(parameters[0])), float(parameters[1]))
        logs = log_softmax(candidate._shifted(scores), axis=1)
        return float(-logsumexp(logs, axis=1, b=right).mean() + 1e-3 * parameters[1] ** 2)

    # bounds, and several starts: where "none" is right far oftener than it is said, the likeliest near one start is a temperature without end
    tries = [minimize(loss, np.array([0.0, start]), method="L-BFGS-B", bounds=[(-4.0, 4.0), (-50.0, 50.0)]) for start in (0.0, 5.0, -5.0)]
    best = min(tries, key=lambda found: float(found.fun)).x
    return float(np.exp(best[0])), float(best[1])


def _right_share(decided: Sequence[bool | None]) -> float:
    """Of those that are decided, that are not None, how many are right, with one right one more."""
    right = [one for one in decided if one is not None]
    return (sum(right) + 1) / (len(right) + 1)


def different(texts: Sequence[str], among: np.ndarray) -> int:
    """How many texts the mentions `among` (n,) bool have; where none are told, each is one of its own."""
    return len(set(compress(texts, among.tolist()))) if len(texts) else int(among.sum())


def _sigmoid(probabilities: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """The likeliest (scale above 0, shift), by Platt's targets, which leave room for one more right and one more wrong."""
    logits = _logits(probabilities)
    wanted = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))

    def loss(parameters: np.ndarray) -> float:
        z = np.exp(parameters[0]) * logits + parameters[1]
        return float((np.logaddexp(0, z) - wanted * z).mean() + PULL * (parameters**2).sum() / len(logits))

    best = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(np.exp(best[0])), float(best[1])


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Of a probability of 1, too, a number."""
    found: np.ndarray = logit(np.clip(probabilities, 1e-6, 1 - 1e-6))
    return found


def also_threshold(probabilities: np.ndarray, nil: np.ndarray, wanted: np.ndarray, sizes: np.ndarray) -> float:
    """The probability above which a candidate beside the best belongs to the answer: the best micro F1 on held-out mentions; 1: none does.

    probabilities (n, k); `nil` (n,) bool: NIL is the answer; `wanted` (n, k) bool: the candidates that the gold names; `sizes` (n,): how many
    concepts it names, candidates or not.
    """
    rows = np.arange(len(probabilities))
    best = np.argmax(probabilities, axis=1)
    beside = np.isfinite(probabilities) & ~nil[:, None]
    beside[rows, best] = False
    order = np.argsort(-probabilities[beside], kind="stable")
    steps, good = probabilities[beside][order], wanted[beside][order]
    right = wanted[rows, best][~nil].sum() + np.concatenate([[0], np.cumsum(good)])
    said = (~nil).sum() + np.arange(len(steps) + 1)
    value = 2 * right / np.maximum(said + sizes.sum(), 1)
    bounds = np.concatenate([[1.0], steps, [0.0]])
    value = np.where(bounds[:-1] > bounds[1:], value, -1)  # equal probabilities cannot be told apart
    at = int(np.argmax(value))
    return 1.0 if at == 0 else float((bounds[at] + bounds[at + 1]) / 2)


def nil_threshold(certainty: np.ndarray, right: np.ndarray, nil: np.ndarray) -> float:
    """The certainty below which NIL is the better answer, by held-out mentions; the middle one of equally good ones.

    All (n,): how sure a system is that it has found something, whether its first candidate is right, whether the gold is NIL.
    -inf: never; inf: always.
    """
    order = np.argsort(certainty, kind="stable")
    steps = np.concatenate([[-np.inf], certainty[order], [np.inf]])
    # value[i]: how many are right if the i least certain are answered NIL
    value = np.concatenate([[0], np.cumsum(nil[order])]) + right.sum() - np.concatenate([[0], np.cumsum(right[order])])
    value = np.where(steps[:-1] < steps[1:], value, -1)  # equal certainties cannot be told apart
    best = np.flatnonzero(value == value.max())
    at = best[len(best) // 2]
    return float((steps[at] + steps[at + 1]) / 2)
