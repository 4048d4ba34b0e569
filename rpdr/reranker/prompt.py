"""What the student reads: one sequence a mention, with a branch for each candidate that is blind to the other branches.

Mention: can't keep food down        the stem, read by every branch
- Vomiting⏎                          a branch; its end is where the head reads
- Dysphagia⏎                         another, at the *same* positions, so that their order cannot matter
- none of these⏎                     the last branch, which reads the stem and all candidates, or (`none_reads`) the stem alone

What branches begin with alike is there once (`tree`): of ten candidates' tokens that is a fifth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rpdr.corpus.context import around
from rpdr.corpus.normalise import clean
from rpdr.files import read_json, write_json
from rpdr.reranker.tree import Tree, tree

# few lengths: libraries keep compiled kernels and memory for each one that they meet
WHOLE = 16  # of a mention's block, for attention alone
WHOLE_ROW = 32  # of all tokens of a batch
PROMPT_FILE = "prompt.json"


@dataclass(frozen=True)
class Query:
    """A mention and its k candidates. `similarities` (k,): as `Retriever.retrieve` gives them."""

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
    """A query, the index of the candidate that was chosen (-1: none of them), the probability in (0, 1] that this is right, and the indices of what else
    was chosen, where the mention names several."""

    query: Query
    choice: int
    trust: float = 1.0
    also: tuple[int, ...] = ()

    @property
    def named(self) -> tuple[int, ...]:
        """All indices that were chosen; -1 alone for none."""
        return (self.choice, *self.also)

    def narrowed(self, candidates: int) -> Example:
        """With its `candidates` most similar candidates, the chosen ones among them, be they more; 0: all."""
        query = self.query
        if not candidates or candidates >= len(query.candidate_names):
            return self
        chosen = [n for n in self.named if n >= 0]
        others = [n for n in range(len(query.candidate_names)) if n not in chosen]
        kept = sorted(chosen + others[: max(0, candidates - len(chosen))])
        choice, *also = [kept.index(n) for n in chosen] or [self.choice]
        return Example(query.with_candidates(kept), choice, self.trust, tuple(also))


def examples(rows: Sequence[dict[str, Any]]) -> list[Example]:
    """From rows of schema.LABELS."""
    return [Example(query, row["choice"], row["trust"], tuple(row["also"])) for query, row in zip(queries(rows), rows, strict=True)]


@dataclass(frozen=True)
class Tokens:
    """One query as tokens: the stem, the branches of the candidates, the branch of "none of these" and whether that is blind to the others too."""

    stem: list[int]
    branches: list[list[int]]
    none: list[int]
    similarities: tuple[float, ...]
    none_blind: bool = False

    @cached_property
    def tree(self) -> Tree:
        """The candidates' branches, their common beginnings once."""
        return tree(self.branches)

    @property
    def sequences(self) -> list[list[int]]:
        """What a blind branch's end stands after, of each candidate and of "none": the stem and the branch."""
        return [self.stem + branch for branch in [*self.branches, self.none]]

    def __len__(self) -> int:
        return len(self.stem) + len(self.tree) + len(self.none)


@dataclass
class Prompt:
    """Turns queries into tensors. Candidates are tokenised once each, not once a mention."""

    tokenizer: Any
    max_tokens_mention: int
    max_tokens_candidate: int
    use_context: bool = False
    none_reads: str = "candidates"
    begin: tuple[int, ...] = ()  # the tokens before each mention, see `beginning`

    def __post_init__(self) -> None:
        self._branch = lru_cache(maxsize=100_000)(self._tokens_of_branch)  # bounded: a knowledge base may have millions of names

    def tokens(self, query: Query) -> Tokens:
        """Tokens of one query, each part cut to its limit."""
        branches = [
            self._branch(name, "" if name == matched else matched)
            for name, matched in zip(query.candidate_names, query.matched_names, strict=True)
        ]
        return Tokens(self._stem(query), branches, self._branch("none of these", ""), query.similarities, self.none_reads == "mention")

    def _stem(self, query: Query) -> list[int]:
        """The mention and, of a context that is too long, what is around it."""
        mention, most = f"Mention: {query.text}", self.max_tokens_mention
        alone = self._encode(mention)
        context = query.context if self.use_context and len(alone) < most else None
        ids = self._encode(f"{mention}\nContext: {context}") if context else alone
        chars = len(context or "")
        while context and len(ids) > most and chars > len(query.text):
            chars = min(chars - 1, chars * (most - len(alone)) // (len(ids) - len(alone)))
            ids = self._encode(f"{mention}\nContext: {around(query.text, context, max(1, chars))}")
        return [*self.begin, *ids[:most]]

    def save(self, folder: Path) -> None:
        """What a student in `folder` has learned to be asked with, and its config does not say."""
        write_json(folder / PROMPT_FILE, {"begin": self.begin})

    def _tokens_of_branch(self, name: str, beside: str) -> list[int]:
        return self._line(f"\n- {clean(name)}" + (f" ({clean(beside)})" if beside else ""))

    def _line(self, text: str) -> list[int]:
        # the newline at the end, of some tokenizers two tokens, is the place that the head reads: cut the words, never the end
        end = self._encode("\n")
        return _shortened(self._encode(text), self.max_tokens_candidate - len(end)) + end

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def collate(self, batch: Sequence[Tokens]) -> dict[str, torch.Tensor]:
        """Tensors for `Student.forward`: b mentions of n tokens together, one after another, in blocks of l places, and k candidates:

        input_ids, position_ids (1, n), where n is made a multiple of WHOLE_ROW by tokens that nobody looks at; places (b, l), back (n,),
        see `attention.Blocks`; attention_mask (b, 1, l, l) float32, see `_mask`; ends (b, k + 1), the token that is read for each
        candidate, the last for "none"; present (b, k + 1) bool; similarities (b, k) float32.
        """
        b, k = len(batch), max(len(t.branches) for t in batch)
        length = -(-max(map(len, batch)) // WHOLE) * WHOLE
        ids: list[int] = []
        positions: list[int] = []
        places = torch.zeros((b, length), dtype=torch.long)
        back: list[int] = []
        mask = np.stack([_mask(tokens, length) for tokens in batch])
        ends = torch.zeros((b, k + 1), dtype=torch.long)
        present = torch.zeros((b, k + 1), dtype=torch.bool)
        similarities = torch.zeros((b, k))
        for row, tokens in enumerate(batch):
            first, stem, branches, n = len(ids), len(tokens.stem), len(tokens.branches), len(tokens)
            after = stem if tokens.none_blind else stem + max(map(len, tokens.branches), default=0)
            ids += [*tokens.stem, *tokens.tree.ids, *tokens.none]
            positions += [*range(stem), *(stem + depth for depth in tokens.tree.depths), *range(after, after + len(tokens.none))]
            ends[row, :branches] = first + stem + torch.tensor(tokens.tree.ends, dtype=torch.long)
            ends[row, k] = first + n - 1
            present[row, :branches], present[row, k] = True, True
            similarities[row, :branches] = torch.tensor(tokens.similarities)
            places[row, :n] = torch.arange(first, first + n)
            back += range(row * length, row * length + n)
        idle = -len(ids) % WHOLE_ROW
        ids += [0] * idle  # not every tokenizer has one to pad with
        positions += [0] * idle
        back += [0] * idle
        return {
            "input_ids": torch.tensor([ids]),
            "position_ids": torch.tensor([positions]),
            "places": places,
            "back": torch.tensor(back),
            "attention_mask": torch.from_numpy(mask).unsqueeze(1),
            "ends": ends,
            "present": present,
            "similarities": similarities,
        }


def beginning(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that this tokenizer puts before any text: an LLM that never read a text without them (Gemma's <bos>) reads one badly."""
    text, whole = tokenizer("x", add_special_tokens=False)["input_ids"], tokenizer("x")["input_ids"]
    return tuple(whole[: next((n for n in range(len(whole)) if whole[n : n + len(text)] == text), 0)])


def learned_beginning(folder: Path) -> tuple[int, ...]:
    """Of the student in `folder`; one of an earlier rpdr has learned without."""
    file = folder / PROMPT_FILE
    return tuple(read_json(file)["begin"]) if file.exists() else ()


def _shortened(ids: list[int], most: int) -> list[int]:
    """The beginning and the end: "… of right tibia, subsequent encounter for closed fracture" and its like differ there."""
    head, tail = most - most // 2, most // 2
    return ids[:head] + ids[max(head, len(ids) - tail) :]


def _mask(tokens: Tokens, length: int) -> np.ndarray:
    """(length, length) float32, to be added to attention's logits: 0 where a token may look, -inf where not, and log n where what "none" looks at
    stands for n tokens alike."""
    mask = np.full((length, length), -np.inf, np.float32)
    np.fill_diagonal(mask, 0.0)  # padding looks at itself: an empty row would be NaN
    stem, end = len(tokens.stem), len(tokens)
    start = end - len(tokens.none)
    mask[:stem, :stem][np.tril_indices(stem)] = 0.0
    mask[stem:end, :stem] = 0.0
    for place, parent in enumerate(tokens.tree.parents, start=stem):
        if parent >= 0:
            mask[place, stem:place] = mask[stem + parent, stem:place]
    if not tokens.none_blind:
        mask[start:end, stem:start] = np.log(np.array(tokens.tree.counts, np.float32))
    mask[start:end, start:end][np.tril_indices(len(tokens.none))] = 0.0
    return mask
