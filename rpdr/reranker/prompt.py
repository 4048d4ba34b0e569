"""What the student reads: one sequence a mention, with a branch for each candidate that is blind to the other branches.

Mention: can't keep food down        the stem, read by every branch
- Vomiting⏎                          a branch; its end is where the head reads
- Dysphagia⏎                         another, at the *same* positions, so that their order cannot matter
- none of these⏎                     the last branch, which reads the stem and all candidates
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

# few lengths: libraries keep compiled kernels and memory for each one that they meet
WHOLE = 16  # of a mention's block, for attention alone
WHOLE_ROW = 32  # of all tokens of a batch


@dataclass(frozen=True)
class Query:
    """A mention and its k candidates. `similarities` (k,) is the retriever's cosine in [-1, 1]."""

    text: str
    candidate_names: tuple[str, ...]
    matched_names: tuple[str, ...]
    similarities: tuple[float, ...]
    context: str | None = None

    def with_candidates(self, places: Sequence[int]) -> Query:
        """With the candidates at these places alone, in this order."""
        return replace(
            self,
            candidate_names=tuple(self.candidate_names[n] for n in places),
            matched_names=tuple(self.matched_names[n] for n in places),
            similarities=tuple(self.similarities[n] for n in places),
        )


def queries(rows: Iterable[dict[str, Any]]) -> list[Query]:
    """From rows of schema.CANDIDATES (or LABELS, which extends it)."""
    return [Query(r["text"], tuple(r["candidate_names"]), tuple(r["matched_names"]), tuple(r["scores"]), r["context"]) for r in rows]


@dataclass(frozen=True)
class Example:
    """A query, the index of the candidate that was chosen (-1: none of them), and the probability in (0, 1] that this is right."""

    query: Query
    choice: int
    trust: float = 1.0

    def narrowed(self, candidates: int) -> Example:
        """With its `candidates` most similar candidates, the chosen one among them; 0: all."""
        query, choice = self.query, self.choice
        if not candidates or candidates >= len(query.candidate_names):
            return self
        kept = [n for n in range(len(query.candidate_names)) if n != choice][: candidates - (choice >= 0)]
        kept = sorted([*kept, *([choice] if choice >= 0 else [])])
        return Example(query.with_candidates(kept), kept.index(choice) if choice >= 0 else choice, self.trust)


def examples(rows: Sequence[dict[str, Any]]) -> list[Example]:
    """From rows of schema.LABELS."""
    return [Example(query, row["choice"], row["trust"]) for query, row in zip(queries(rows), rows, strict=True)]


@dataclass(frozen=True)
class Tokens:
    """One query as tokens: the stem, the branches of the candidates, the branch of "none of these"."""

    stem: list[int]
    branches: list[list[int]]
    none: list[int]
    similarities: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.stem) + sum(map(len, self.branches)) + len(self.none)


@dataclass
class Prompt:
    """Turns queries into tensors. Candidates are tokenised once each, not once a mention."""

    tokenizer: Any
    max_tokens_mention: int
    max_tokens_candidate: int
    use_context: bool = False
    _cache: dict[str, list[int]] = field(default_factory=dict, repr=False)

    def tokens(self, query: Query) -> Tokens:
        """Tokens of one query, each part cut to its limit."""
        stem = f"Mention: {query.text}"
        if self.use_context and query.context:
            stem += f"\nContext: {query.context}"
        branches = [
            self._branch(f"\n- {name}" if name == matched else f"\n- {name} ({matched})")
            for name, matched in zip(query.candidate_names, query.matched_names, strict=True)
        ]
        return Tokens(self._encode(stem)[: self.max_tokens_mention], branches, self._branch("\n- none of these"), query.similarities)

    def _branch(self, text: str) -> list[int]:
        if text not in self._cache:
            # the newline at the end is the place that the head reads: cut the words, never the end
            self._cache[text] = self._encode(text)[: self.max_tokens_candidate - 1] + self._encode("\n")
        return self._cache[text]

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def collate(self, batch: Sequence[Tokens]) -> dict[str, torch.Tensor]:
        """Tensors for `Student.forward`: b mentions of n tokens together, one after another, in blocks of l places, and k candidates:

        input_ids, position_ids (1, n), where n is made a multiple of WHOLE_ROW by tokens that nobody looks at; places (b, l), back (n,),
        see `attention.Blocks`; attention_mask (b, 1, l, l) bool, true = may look; ends (b, k + 1), the token that is read for each
        candidate, the last for "none"; present (b, k + 1) bool; similarities (b, k) float32.
        """
        b, k = len(batch), max(len(t.branches) for t in batch)
        length = -(-max(map(len, batch)) // WHOLE) * WHOLE
        ids: list[int] = []
        positions: list[int] = []
        places = torch.zeros((b, length), dtype=torch.long)
        back: list[int] = []
        mask = torch.eye(length, dtype=torch.bool).repeat(b, 1, 1)  # padding looks at itself: an empty row would be NaN
        ends = torch.zeros((b, k + 1), dtype=torch.long)
        present = torch.zeros((b, k + 1), dtype=torch.bool)
        similarities = torch.zeros((b, k))
        for row, tokens in enumerate(batch):
            first, stem = len(ids), len(tokens.stem)
            ids += tokens.stem
            positions += range(stem)
            mask[row, :stem, :stem] = _causal(stem)
            start, deepest = stem, stem
            for column, branch in enumerate(tokens.branches):
                end = start + len(branch)
                ids += branch
                positions += range(stem, stem + len(branch))
                mask[row, start:end, :stem] = True
                mask[row, start:end, start:end] = _causal(len(branch))
                ends[row, column], present[row, column] = first + end - 1, True
                start, deepest = end, max(deepest, stem + len(branch))
            end = start + len(tokens.none)
            ids += tokens.none
            positions += range(deepest, deepest + len(tokens.none))
            mask[row, start:end, :start] = True
            mask[row, start:end, start:end] = _causal(len(tokens.none))
            ends[row, k], present[row, k] = first + end - 1, True
            similarities[row, : len(tokens.branches)] = torch.tensor(tokens.similarities)
            places[row, :end] = torch.arange(first, first + end)
            back += range(row * length, row * length + end)
        idle = -len(ids) % WHOLE_ROW
        ids += [self.tokenizer.pad_token_id] * idle
        positions += [0] * idle
        back += [0] * idle
        return {
            "input_ids": torch.tensor([ids]),
            "position_ids": torch.tensor([positions]),
            "places": places,
            "back": torch.tensor(back),
            "attention_mask": mask.unsqueeze(1),
            "ends": ends,
            "present": present,
            "similarities": similarities,
        }


def _causal(n: int) -> torch.Tensor:
    return torch.ones(n, n, dtype=torch.bool).tril()
