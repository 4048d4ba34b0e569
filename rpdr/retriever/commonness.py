"""How often a concept was meant, and a text meant it: what entity linkers call commonness, beside the similarity of names.

Two concepts may have the same name, or names as similar as each other to what was said; then people mean the one that they usually mean
(Milne & Witten 2008, doi 10.1145/1458082.1458150). Counted are the mentions that somebody has linked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

from rpdr.corpus.normalise import normalise
from rpdr.files import read_json, write_json, write_rows

LINKS, WEIGHTS = "links.parquet", "weights.json"
SCHEMA = pa.schema([pa.field("text", pa.string()), pa.field("concept", pa.int32()), pa.field("count", pa.float64())])
WORTH = 2.0  # mentions that a weight twice the usual one must explain, or it is not believed


@dataclass(frozen=True)
class Weights:
    """What counts in a score: `names`, the share in [0, 1] of the knowledge base's own names in the similarity, the rest being that of all names,
    aliases among them; `concept` times the log of 1 + the concept's links; `text` times the share of the text's links that are the concept's.

    The defaults are between what suits Ask A Patient and what suits CADEC.
    """

    names: float = 0.4
    concept: float = 0.02
    text: float = 0.15


@dataclass(frozen=True)
class Parts:
    """Of one mention and n concepts, (n,) each, or of several mentions, (m, n) each: the concepts' rows, the similarity of the best name and of the
    best that is the knowledge base's own, and what `Commonness.features` says of them."""

    rows: np.ndarray
    best: np.ndarray
    own: np.ndarray
    concept: np.ndarray
    text: np.ndarray

    def scores(self, weights: Weights) -> np.ndarray:
        """As large as a cosine, more where the concept is common."""
        similarity = (1 - weights.names) * self.best + weights.names * self.own
        return similarity + weights.concept * self.concept + weights.text * self.text

    @classmethod
    def stacked(cls, some: Sequence[Parts]) -> Parts:
        """Of m mentions, (m, n) each; where one has fewer than n concepts there is row -1, of similarity -inf."""
        width = max(len(parts.rows) for parts in some)

        def stack(name: str, nothing: float) -> np.ndarray:
            columns = (getattr(parts, name) for parts in some)
            return np.stack([np.pad(column, (0, width - len(column)), constant_values=nothing) for column in columns])

        return cls(stack("rows", -1), stack("best", -np.inf), stack("own", 0.0), stack("concept", 0.0), stack("text", 0.0))


@dataclass(frozen=True)
class Commonness:
    """`links`: (normalised text, concept row) -> how often it was linked so, a label counting as far as it is trusted."""

    links: dict[tuple[str, int], float]
    weights: Weights = field(default=Weights())

    @classmethod
    def of(cls, linked: Iterable[tuple[str, int, float]]) -> Commonness:
        """Of (text, concept row, count), added up."""
        links: dict[tuple[str, int], float] = defaultdict(float)
        for text, row, count in linked:
            links[normalise(text), row] += count
        return cls(dict(links))

    def weighed(self, weights: Weights) -> Commonness:
        """With other weights."""
        return replace(self, weights=weights)

    def features(self, text: str, rows: Sequence[int], as_new: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """(n,) log(1 + links of each concept), (n,) its share of the text's links, where one more link, of no concept, says that few say little.
        `as_new`: as if nobody had linked this text."""
        own = self._by_text.get(normalise(text), {})
        counts = np.array([self._by_concept.get(row, 0.0) - (own.get(row, 0.0) if as_new else 0.0) for row in rows])
        shares = np.zeros(len(rows)) if as_new else np.array([own.get(row, 0.0) for row in rows]) / (1 + sum(own.values()))
        return np.log1p(np.maximum(counts, 0.0)), shares

    @cached_property
    def _by_concept(self) -> dict[int, float]:
        counts: dict[int, float] = defaultdict(float)
        for (_, row), count in self.links.items():
            counts[row] += count
        return counts

    @cached_property
    def _by_text(self) -> dict[str, dict[int, float]]:
        counts: dict[str, dict[int, float]] = defaultdict(dict)
        for (text, row), count in self.links.items():
            counts[text][row] = count
        return counts

    def save(self, folder: Path) -> None:
        """Write two files into `folder`, each atomically."""
        rows = [{"text": text, "concept": row, "count": count} for (text, row), count in self.links.items()]
        write_rows(folder / LINKS, rows, SCHEMA)
        write_json(folder / WEIGHTS, asdict(self.weights))

    @classmethod
    def load(cls, folder: Path) -> Commonness | None:
        """What `save` wrote, if it did."""
        if not (folder / WEIGHTS).exists():
            return None
        table = pq.read_table(folder / LINKS)
        rows = zip(*(table[name].to_pylist() for name in SCHEMA.names), strict=True)
        return cls({(text, row): count for text, row, count in rows}, Weights(**read_json(folder / WEIGHTS)))


def fit_weights(found: Iterable[tuple[Parts, Collection[int]]]) -> Weights:
    """The weights under which the right concepts (rows) of these mentions are likeliest among those that were found; the usual ones where there is
    little to choose by."""
    told = [(parts, right) for parts, gold in found if (right := np.isin(parts.rows, list(gold))).any()]
    if not told:
        return Weights()
    parts = Parts.stacked([parts for parts, _ in told])
    right = np.stack([np.pad(mine, (0, parts.rows.shape[1] - len(mine))) for _, mine in told])
    usual = np.array(list(asdict(Weights()).values()))

    def loss(parameters: np.ndarray) -> float:
        weights, scale = Weights(*parameters[1:] * usual), np.exp(parameters[0])
        logits = log_softmax(scale * parts.scores(weights), axis=1)
        unlikely = -logsumexp(np.where(right, logits, -np.inf), axis=1).sum()
        return float(unlikely + WORTH * np.square(parameters[1:] - 1).sum())

    start = np.array([3.0, 1.0, 1.0, 1.0])
    # a little less than 1, as -inf times nothing is nothing known
    bounds = [(0.0, 5.0), (0.0, 0.99 / usual[0]), (0.0, 10.0), (0.0, 10.0)]
    return Weights(*(float(w) for w in minimize(loss, start, method="L-BFGS-B", bounds=bounds).x[1:] * usual))
