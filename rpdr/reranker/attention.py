"""Many mentions in one row of tokens, without padding: each layer's matrix products are over real tokens, and attention stays within a mention.

The row is unpacked into one block a mention for attention alone, which is a small part of the work at a mention's length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rpdr.errors import ModelError

NAME = "rpdr_blocks"


@dataclass(frozen=True)
class Blocks:
    """Where the n tokens of a row stand in b blocks of l places: `places` (b, l) the token of each place, any where there is none;
    `back` (n,) the place of each token, of b * l."""

    places: torch.Tensor
    back: torch.Tensor


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    blocks: Blocks,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Query (1, heads, n, d), key and value (1, key heads, n, d), additive mask (b, 1, l, l) -> (1, n, heads, d)."""
    if s_aux is not None:
        raise ModelError(f"{type(module).__name__}: attention with sinks is not supported; name another student.model")
    q, k, v = (_unpacked(states, blocks) for states in (query, key, value))
    groups = q.shape[1] // k.shape[1]
    # not enable_gqa: with a mask, CUDA has no fused kernel for it, and falls back to the plain one without a word
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    if query.is_cuda and softcap is None:
        out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask, scale=scaling)
    else:  # with a mask of one's own, PyTorch's fused attention trains 2 to 3 times slower on a CPU than plain matrix products
        weights = torch.matmul(q, k.transpose(2, 3)) * scaling
        if softcap is not None:
            weights = torch.tanh(weights / softcap) * softcap
        weights = nn.functional.softmax(weights + attention_mask, dim=-1, dtype=torch.float32).to(q.dtype)
        out = torch.matmul(weights, v)
    return out.transpose(1, 2).flatten(0, 1).index_select(0, blocks.back).unsqueeze(0), None


def _unpacked(states: torch.Tensor, blocks: Blocks) -> torch.Tensor:
    """(1, h, n, d) -> (b, h, l, d)."""
    return states[0].transpose(0, 1).index_select(0, blocks.places.flatten()).unflatten(0, blocks.places.shape).transpose(1, 2)


def _as_given(*_: Any, attention_mask: torch.Tensor | None = None, **__: Any) -> torch.Tensor | None:
    return attention_mask


def use(lm: Any) -> None:
    """Let a transformers model attend so."""
    from transformers import AttentionInterface, AttentionMaskInterface  # seconds, which a process without a student need not wait for

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _as_given)
    lm.set_attn_implementation(NAME)
