"""What the student is to learn: for each example the wanted probability of each candidate, and the loss against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rpdr.reranker.batches import Micro
from rpdr.reranker.prompt import Example, Prompt, Tokens
from rpdr.retriever import Prior, fit_prior, similarity_matrix


@dataclass(frozen=True)
class Task:
    """Tokens of n examples, and the wanted probabilities of each: (k + 1,), "none of these" last. `any_of`: it is enough that one of those wanted is
    said, whichever, as an answer is right by any of them."""

    tokens: list[Tokens]
    targets: list[np.ndarray]
    any_of: bool = False

    @classmethod
    def of(cls, prompt: Prompt, examples: Sequence[Example], prior: Prior | None = None, any_of: bool = False) -> Task:
        """With a prior, a label is believed as far as it is trusted, see `target`; without, wholly."""
        return cls([prompt.tokens(example.query) for example in examples], [target(example, prior) for example in examples], any_of)

    def loss(self, scores: torch.Tensor, micro: Micro) -> torch.Tensor:
        """The weighted sum of listwise cross-entropies (nats) for scores (b, k + 1)."""
        wanted, logs = self._wanted(scores, micro), torch.log_softmax(scores, dim=1)
        if self.any_of:
            each = logs.masked_fill(wanted == 0, -torch.inf).logsumexp(dim=1)
        else:
            each = (wanted * logs.masked_fill(logs.isinf(), 0.0)).sum(dim=1)  # -inf: no candidate
        return -(torch.tensor([weight for _, weight in micro], device=scores.device) * each).sum()

    def _wanted(self, scores: torch.Tensor, micro: Micro) -> torch.Tensor:
        """(b, k + 1)."""
        wanted = torch.zeros(scores.shape)
        for row, (number, _) in enumerate(micro):
            wish = torch.from_numpy(self.targets[number])
            wanted[row, : len(wish) - 1], wanted[row, -1] = wish[:-1], wish[-1]
        return wanted.to(scores.device)


def target(example: Example, prior: Prior | None = None) -> np.ndarray:
    """The wanted probabilities (k + 1,): 1 for the choice; or its trust, and the rest shared among the others as the retriever had it. Of several
    that were chosen each has an equal share."""
    k = len(example.query.candidate_names)
    rest = np.zeros(k + 1) if prior is None else prior.probabilities(np.array([example.query.similarities]).reshape(1, k))[0]
    named = list(example.named)  # -1 is "none", which is last
    rest[named] = 0.0
    left = float(rest.sum())
    trust = example.trust if left else 1.0
    rest *= (1 - trust) / (left or 1.0)
    rest[named] = trust / len(named)
    return rest


def prior_loss(examples: Sequence[Example], prior: Prior, soft: bool = False) -> float:
    """The mean cross-entropy (nats) of a student that has learned nothing: what its training's loss is to be compared with; `soft`: against labels
    that are believed as far as they are trusted."""
    believed = prior.probabilities(similarity_matrix([example.query.similarities for example in examples]))
    logs = np.log(np.maximum(believed, 1e-12))
    wanted = [target(example, prior if soft else None) for example in examples]
    return float(np.mean([-(wish[:-1] @ row[: len(wish) - 1] + wish[-1] * row[-1]) for row, wish in zip(logs, wanted, strict=True)]))


def prior_of(examples: Sequence[Example]) -> Prior:
    """What the retriever's similarities alone say of these choices, at their likeliest: where a student starts."""
    return fit_prior([example.query.similarities for example in examples], [example.choice for example in examples])
