"""Fine-tune a bi-encoder on (mention, concept name) and (synonym, concept name) pairs with in-batch and hard negatives.

The multiple-negatives ranking loss of Henderson et al. 2017 (arXiv 1705.00652). Of two pairs of one concept that meet in a batch neither is the other's
negative.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rpdr.config import RetrieverConfig
from rpdr.corpus.normalise import clean
from rpdr.models import chosen_precision
from rpdr.retriever.vocabulary import met_tokens

SCALE = 20.0  # inverse temperature of the cosine, sentence-transformers' own default
TOGETHER = 32  # texts of like lengths that go through the encoder at once, on a CPU: a batch has many a short name and few long ones


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts of one concept. `negative`: (text, concept) of another that is easily taken for it."""

    anchor: str
    positive: str
    concept: str
    negative: tuple[str, str] | None = None


def train_encoder(
    encoder: Any,
    labelled: Sequence[Pair],
    synonyms: Sequence[Pair],
    settings: RetrieverConfig,
    seed: int,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> float:
    """Train in place; an epoch is every labelled pair and a new sample of at most `max_synonym_pairs` synonym pairs.

    Returns the mean loss (nats) of the last epoch; 0.0 if there is nothing to train on. Weights and optimizer are in float32 in either precision.
    `on_step(done, total)` shows progress.
    """
    rng = random.Random(seed)
    torch.manual_seed(seed)
    plan = [_batches(labelled, synonyms, settings.max_synonym_pairs, settings.batch_size, rng) for _ in range(settings.epochs)]
    total = sum(map(len, plan))
    if not total:
        return 0.0
    read = {text: settings.prefix + clean(text) for batches in plan for batch in batches for pair in batch for text in _texts(pair)}
    with met_tokens(encoder, sorted(set(read.values()))):
        encoder.train()
        device = torch.device(encoder.device).type
        low = torch.autocast(device, torch.bfloat16, enabled=chosen_precision(settings.precision, device) == "bf16")
        optimizer = torch.optim.AdamW(encoder.parameters(), lr=settings.learning_rate, weight_decay=0.01, fused=True)
        warmup = max(1, total // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda s: min((s + 1) / warmup, max(0.0, (total - s) / max(1, total - warmup)))
        )
        done = 0
        losses: list[float] = []
        for batches in plan:
            losses = []
            for batch in batches:
                options = [(pair.positive, pair.concept) for pair in batch] + [pair.negative for pair in batch if pair.negative]
                texts = [pair.anchor for pair in batch] + [text for text, _ in options]
                with low:
                    vectors = _embed(encoder, [read[text] for text in texts]).float()
                similarity = vectors[: len(batch)] @ vectors[len(batch) :].T * SCALE
                similarity = similarity.masked_fill(_also_right(batch, options).to(similarity.device), float("-inf"))
                target = torch.arange(len(batch), device=similarity.device)
                loss = torch.nn.functional.cross_entropy(similarity, target)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                losses.append(loss.item())
                done += 1
                on_step(done, total)
    encoder.eval()
    return sum(losses) / max(1, len(losses))


def _batches(labelled: Sequence[Pair], synonyms: Sequence[Pair], max_synonyms: int, size: int, rng: random.Random) -> list[list[Pair]]:
    """All labelled pairs and a sample of the synonyms' in random order, in parts of one size; none where one concept alone has pairs."""
    pairs = list(labelled) + rng.sample(synonyms, min(max_synonyms, len(synonyms)))
    rng.shuffle(pairs)
    parts = -(-len(pairs) // size)
    return [pairs[part::parts] for part in range(parts)] if len({pair.concept for pair in pairs}) > 1 else []


def _also_right(batch: Sequence[Pair], options: Sequence[tuple[str, str]]) -> torch.Tensor:
    """(b, options) bool: of another pair, what is of this pair's own concept, or of another that the same mention names."""
    named: dict[str, set[str]] = {}
    for pair in batch:
        named.setdefault(pair.anchor, set()).add(pair.concept)
    return torch.tensor(
        [[n != m and concept in named[pair.anchor] for m, (_, concept) in enumerate(options)] for n, pair in enumerate(batch)]
    )


def _texts(pair: Pair) -> list[str]:
    return [pair.anchor, pair.positive, *(pair.negative[:1] if pair.negative else ())]


def _embed(encoder: Any, texts: Sequence[str]) -> torch.Tensor:
    """Unit vectors (n, d)."""
    together = TOGETHER if torch.device(encoder.device).type == "cpu" else len(texts)
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    parts = [_embed_alike(encoder, [texts[n] for n in order[start : start + together]]) for start in range(0, len(order), together)]
    return torch.nn.functional.normalize(torch.cat(parts), dim=-1)[torch.tensor(order).argsort()]


def _embed_alike(encoder: Any, texts: list[str]) -> torch.Tensor:
    features = {name: value.to(encoder.device) for name, value in encoder.preprocess(texts).items() if isinstance(value, torch.Tensor)}
    return encoder(features)["sentence_embedding"]
