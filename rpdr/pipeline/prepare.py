"""Stage `prepare`: knowledge base and mentions as they are in the world -> kb/concepts.parquet, corpus/mentions.parquet, rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rpdr.corpus import read_mentions, save_mentions
from rpdr.files import sha256_tree, write_rows
from rpdr.kb import read_kb, save_kb
from rpdr.pipeline.progress import StageProgress
from rpdr.pipeline.run import Run
from rpdr.schema import REJECTS, ConceptId, Gold


def prepare(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Read everything once; what cannot be read is set aside, what must not be wrong stops the run."""
    progress.update(0, 3, "reading the knowledge base")
    concepts, rejects = read_kb(run.config.kb)
    progress.update(1, 3, "reading mentions")
    mentions, more = read_mentions(run.config.mentions, run.config.seed)
    progress.update(2, 3, "writing")
    canonical = {ConceptId(i): c.concept_id for c in concepts for i in c.alternate_ids} | {c.concept_id: c.concept_id for c in concepts}
    unknown = Counter(i for m in mentions for alternative in m.gold or [] for i in alternative if i not in canonical)
    mentions = [replace(m, gold=canonical_gold(m.gold, canonical)) for m in mentions]
    save_kb(run.path("kb", "concepts.parquet"), concepts)
    save_mentions(run.path("corpus", "mentions.parquet"), mentions)
    write_rows(run.path("corpus", "rejects.parquet"), rejects + more, REJECTS)
    return {
        "content": sha256_tree(run.path("kb")) + sha256_tree(run.path("corpus", "mentions.parquet")),
        "concepts": len(concepts),
        "names": sum(len(c.names) for c in concepts),
        "mentions": len(mentions),
        "splits": dict(Counter(m.split for m in mentions)),
        "rejects": len(rejects) + len(more),
        "unknown_gold_ids": sum(unknown.values()),
        "unknown_gold_examples": [i for i, _ in unknown.most_common(5)],
    }


def canonical_gold(gold: Gold | None, canonical: Mapping[ConceptId, ConceptId]) -> Gold | None:
    """Gold with alternate ids replaced by the concept's own; ids that the knowledge base does not have stay as they are."""
    return gold and [[canonical.get(i, i) for i in alternative] for alternative in gold]
