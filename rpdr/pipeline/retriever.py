"""Stage `retriever`: few labels and the knowledge base's synonyms -> a tuned encoder and the index over all names, labelled mentions among them where
dev finds more so."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from rpdr.corpus import load_mentions
from rpdr.files import sha256_tree, write_rows, write_table
from rpdr.kb import load_kb
from rpdr.pipeline.links import gold_pairs, met_as_new, remembering, with_labelled
from rpdr.pipeline.progress import StageProgress
from rpdr.pipeline.tuning import tuned_encoder
from rpdr.retriever import Retriever, add_candidates, distinct_rows
from rpdr.run import Run
from rpdr.run.found import LABELLED_FILE
from rpdr.schema import CANDIDATES

TUNED_ALONE = "tuned_alone.parquet"  # what the test and dev mentions find without labelled mentions as names


def retriever(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Tune, save in sentence-transformers form, index."""
    concepts = load_kb(run.concepts_file)
    mentions = load_mentions(run.mentions_file, "labelled", "dev", "test")
    pairs = gold_pairs([m for m in mentions if m.split == "labelled"], concepts)
    tuned = tuned_encoder(run, concepts, pairs, progress, run.path("retriever"))
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
        "names_read_in_part": tuned.reads_in_part(settings.prefix + name for concept in concepts for name in concept.names),
        "labelled_names": linked.index.aliases if linked else 0,
    }
