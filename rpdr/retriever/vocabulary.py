"""Tune of a token embedding those rows alone that a run's texts meet: a multilingual encoder has a hundred million weights in it, and a step
over all of them cost more than the rest of the step did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

AT_ONCE = 1_000  # texts tokenised together


@contextmanager
def met_tokens(encoder: Any, texts: Sequence[str]) -> Iterator[None]:
    """Within it, the encoder's token embedding holds the rows of the tokens of `texts` and no others, which are all that it may be asked for.

    After it, the whole embedding is there again, with these rows as they were left. An encoder that holds its embedding in several modules (T5) is
    left as it is.
    """
    model = encoder.transformers_model
    embedding = model.get_input_embeddings()
    if sum(getattr(module, "weight", None) is embedding.weight for module in model.modules()) > 1:
        yield
        return
    whole, padding = embedding.weight.data, embedding.padding_idx
    met = _tokens(encoder, texts, padding).to(whole.device)
    place = torch.full((len(whole),), -1, device=whole.device)  # -1: an error where it is asked for
    place[met] = torch.arange(len(met), device=whole.device)
    embedding.weight = torch.nn.Parameter(whole[met])
    embedding.padding_idx = None if padding is None else int(place[padding])
    hook = embedding.register_forward_pre_hook(lambda _, given: (place[given[0]], *given[1:]))
    try:
        yield
    finally:
        hook.remove()
        whole[met] = embedding.weight.data
        embedding.weight, embedding.padding_idx = torch.nn.Parameter(whole), padding


def _tokens(encoder: Any, texts: Sequence[str], padding: int | None) -> torch.Tensor:
    """Ids, each once, in order; padding among them, as batches are padded."""
    found: set[int] = set() if padding is None else {padding}
    for start in range(0, len(texts), AT_ONCE):
        found.update(encoder.preprocess(list(texts[start : start + AT_ONCE]))["input_ids"].flatten().tolist())
    return torch.tensor(sorted(found))
