"""The bi-encoder: sentence-transformers', in batches of so many tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

# of a batch, padding too: on two CPU cores matrix products are at full speed from here on, and every further text of a batch only adds to the padding
TOKENS_ON_CPU, TOKENS_ON_GPU = 256, 32_768
COUNTED_AT_ONCE = 10_000  # texts whose tokens are held while they are counted


class Encoder(SentenceTransformer):
    """Its base batches as many texts, whatever their length in tokens: of spans of two words 40 to 60 % was padding."""

    def encode(self, inputs: Sequence[str] | str, **how: Any) -> np.ndarray:  # type: ignore[override]
        """(n, d) for n texts, (d,) for one; `how`: as its base's, but for the size of batches, which is ours."""
        if isinstance(inputs, str):
            alone: np.ndarray = self.encode([inputs], **how)[0]
            return alone
        if not inputs:
            return np.empty((0, 0), np.float32)
        texts, how = list(inputs), {**how, "show_progress_bar": False}
        how.pop("batch_size", None)
        most = TOKENS_ON_CPU if torch.device(self.device).type == "cpu" else TOKENS_ON_GPU
        lengths = [len(ids) for ids in self.tokenizer(texts, truncation=True, max_length=self.max_seq_length)["input_ids"]]
        batches = list(alike(lengths, most))
        found = [super(Encoder, self).encode([texts[row] for row in rows], batch_size=len(rows), **how) for rows in batches]
        vectors: np.ndarray = np.concatenate(found)[np.argsort(np.concatenate(batches))]
        return vectors

    def reads_in_part(self, texts: Iterable[str]) -> int:
        """How many of the texts have more tokens than it reads, and are to it what they begin with."""
        most = self.max_seq_length
        if most is None:
            return 0
        may_be = (text for text in texts if len(text.encode()) > most - 4)  # a token has a byte, but for those that mark the ends
        count = 0
        while some := list(islice(may_be, COUNTED_AT_ONCE)):
            count += sum(len(ids) > most for ids in self.tokenizer(some, truncation=False, verbose=False)["input_ids"])
        return count


def alike(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Places of `lengths`, longest first, in batches that hold at most so many tokens when all are as long as the longest; one at least."""
    order = np.argsort([-length for length in lengths], kind="stable").tolist()
    start = 0
    while start < len(order):
        end = start + max(1, most // max(1, lengths[order[start]]))
        yield order[start:end]
        start = end
