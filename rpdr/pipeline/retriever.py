"""Stage `retriever`: few labels and the knowledge base's synonyms -> a tuned encoder and the index over all names, labelled mentions among them where
dev finds more so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rpdr.config import RetrieverConfig
from rpdr.corpus import load_mentions
from rpdr.files import sha256_tree, write_rows, write_table
from rpdr.kb import Concept, load_kb
from rpdr.models import load_encoder
from rpdr.pipeline.candidates import LABELLED_FILE
from rpdr.pipeline.links import gold_pairs, met_as_new, remembering, with_labelled
from rpdr.pipeline.progress import StageProgress
from rpdr.pipeline.run import Run
from rpdr.retriever import Pair, Retriever, add_candidates, distinct_rows, train_encoder
from rpdr.schema import CANDIDATES

TUNED_ALONE = "tuned_alone.parquet"  # what the test and dev mentions find without labelled mentions as names
AGAIN = (2, 5)  # of the epochs: on Ask A Patient, going on for two found as much as starting anew for five


def retriever(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Tune, save in sentence-transformers form, index."""
    concepts = load_kb(run.path("kb", "concepts.parquet"))
    mentions = load_mentions(run.path("corpus", "mentions.parquet"), "labelled", "dev", "test")
    pairs = gold_pairs([m for m in mentions if m.split == "labelled"], concepts)
    tuned = tuned_encoder(run, concepts, pairs, progress)
    tuned.save(str(run.path("retriever")))
    progress.update(0, None, "indexing names")
    settings = run.config.retriever
    built = Retriever.build(tuned, concepts, settings.prefix, settings.index, [pair.anchor for pair in pairs], settings.index_parts)
    linked, built = None, remembering(built)  # dev is asked about several times
    if settings.labelled_names:
        progress.update(0, None, "weighing labelled mentions as names")
        linked = with_labelled(built, mentions, settings.top_k)
    (linked or built).save(run.path("index"))
    if linked:  # to be measured beside it
        asked = distinct_rows([m for m in mentions if m.split != "labelled"])
        alone = add_candidates(built, pa.Table.from_pylist(asked), settings.top_k) if asked else CANDIDATES.empty_table()
        write_table(run.path("index", TUNED_ALONE), alone, CANDIDATES)
        by_hand = met_as_new(linked, [m for m in mentions if m.split == "labelled"], settings.top_k)
        write_rows(run.path("index", LABELLED_FILE), list(by_hand.values()), CANDIDATES)
    return {
        "content": sha256_tree(run.path("retriever")) + sha256_tree(run.path("index"), without="names*.faiss"),  # as in retune
        "labelled_pairs": len(pairs),
        "names": built.index.own.total,
        "labelled_names": linked.index.aliases if linked else 0,
    }


def tuned_encoder(
    run: Run, concepts: Sequence[Concept], pairs: Sequence[Pair], progress: StageProgress, what: str = "", again: bool = False
) -> Any:
    """The base encoder, tuned on `pairs` and on synonyms; or, `again`, the one that this run has tuned, for fewer epochs and on no more synonyms than
    pairs, as it has met those. `what` it is tuned on, for who watches."""
    settings = run.config.retriever
    encoder = load_encoder(str(run.path("retriever")) if again else settings.model, settings.max_tokens)
    train_encoder(
        encoder,
        pairs,
        synonym_pairs(concepts),
        epochs=-(-settings.epochs * AGAIN[0] // AGAIN[1]) if again else settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        max_synonyms=most_synonyms(settings, len(pairs)) if again else settings.max_synonym_pairs,
        seed=run.config.seed,
        prefix=settings.prefix,
        precision=settings.precision,
        on_step=lambda done, total: progress.update(done, total, f"tuning the encoder {what}".rstrip()),
    )
    return encoder


def most_synonyms(settings: RetrieverConfig, pairs: int) -> int:
    """How many synonyms an epoch of the second round takes beside so many labelled pairs."""
    return min(settings.max_synonym_pairs, pairs)


def synonym_pairs(concepts: Sequence[Concept]) -> list[Pair]:
    """(name, preferred name) for every name; a concept's only name is paired with itself, which keeps concepts apart."""
    return [Pair(name, c.name, c.concept_id) for c in concepts for name in ([name for name in c.names if name != c.name] or c.names)]
