"""How a run's encoder is tuned: on linked mentions and synonyms, at first and again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rpdr.config import RetrieverConfig
from rpdr.files import atomic_folder
from rpdr.kb import Concept
from rpdr.models import load_encoder
from rpdr.pipeline.progress import StageProgress
from rpdr.retriever import Pair, train_encoder
from rpdr.run import Run

AGAIN = (2, 5)  # of the epochs: on Ask A Patient, going on for two found as much as starting anew for five


def tuned_encoder(
    run: Run, concepts: Sequence[Concept], pairs: Sequence[Pair], progress: StageProgress, kept: Path, what: str = "", again: bool = False
) -> Any:
    """The base encoder, tuned on `pairs` and on synonyms; or, `again`, the one that this run has tuned, for fewer epochs and on no more synonyms than
    pairs, as it has met those. It is saved as `kept`, from where a start takes it that goes on with a killed one. `what` it is tuned on, for who watches."""
    settings = run.config.retriever
    if kept.exists():
        return load_encoder(str(kept), settings.max_tokens)
    encoder = load_encoder(str(run.path("retriever")) if again else settings.model, settings.max_tokens)
    if again:
        less = {"epochs": -(-settings.epochs * AGAIN[0] // AGAIN[1]), "max_synonym_pairs": most_synonyms(settings, len(pairs))}
        settings = settings.model_copy(update=less)
    train_encoder(
        encoder,
        pairs,
        synonym_pairs(concepts),
        settings,
        run.config.seed,
        on_step=lambda done, total: progress.update(done, total, f"tuning the encoder {what}".rstrip()),
    )
    with atomic_folder(kept) as folder:
        encoder.save(str(folder))
    return encoder


def most_synonyms(settings: RetrieverConfig, pairs: int) -> int:
    """How many synonyms an epoch of the second round takes beside so many labelled pairs."""
    return min(settings.max_synonym_pairs, pairs)


def synonym_pairs(concepts: Sequence[Concept]) -> list[Pair]:
    """(name, preferred name) for every name; a concept's only name is paired with itself, which keeps concepts apart."""
    return [Pair(name, c.name, c.concept_id) for c in concepts for name in ([name for name in c.names if name != c.name] or c.names)]
