"""A student read as plain sequences, the mention and one branch each, for an engine that knows nothing of branches: tokens in, scores out.

A branch sees the mention and itself alone, so a causal LLM gives its end the same hidden state in a sequence of these two. That holds for "none of
these" too where it reads the mention alone (`student.none_reads`). Head and prompt are ours; the engine gives hidden states and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from rpdr.reranker.prompt import Prompt, Tokens
from rpdr.reranker.student import Head

# n sequences of tokens -> (n, d): the last hidden state, after the LLM's last norm, at the end of each
Engine = Callable[[list[list[int]]], torch.Tensor]


class SequenceStudent(nn.Module):
    """As a Student whose hidden states come from an engine."""

    def __init__(self, prompt: Prompt, head: Head, engine: Engine) -> None:
        super().__init__()
        self.prompt, self.head, self.engine = prompt, head, engine

    def read(self, batch: Sequence[Tokens]) -> torch.Tensor:
        """As `Student.read`."""
        b, k = len(batch), max(len(tokens.branches) for tokens in batch)
        ends = self.engine([sequence for tokens in batch for sequence in tokens.sequences]).to(self.head.candidate.weight)
        hidden = ends.new_zeros((b, k + 1, ends.shape[1]))
        present = torch.zeros((b, k + 1), dtype=torch.bool)
        similarities = torch.zeros((b, k))
        for row, (tokens, own) in enumerate(zip(batch, ends.split([len(tokens.branches) + 1 for tokens in batch]), strict=True)):
            n = len(tokens.branches)
            hidden[row, :n], hidden[row, k] = own[:-1], own[-1]
            present[row, :n], present[row, k] = True, True
            similarities[row, :n] = torch.tensor(tokens.similarities)
        return self.head(hidden, similarities.to(hidden), present.to(hidden.device))
