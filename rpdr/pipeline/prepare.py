"""Stage `prepare`: knowledge base and mentions as they are in the world -> kb/concepts.parquet, corpus/mentions.parquet, rejects."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rpdr.corpus import KnownConcepts, read_mentions, save_mentions
from rpdr.files import sha256_tree, write_rows
from rpdr.kb import read_kb, save_kb
from rpdr.pipeline.progress import StageProgress
from rpdr.pipeline.run import Run
from rpdr.schema import REJECTS


def prepare(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Read everything once; what cannot be read is set aside, what must not be wrong stops the run."""
    progress.update(0, 3, "reading the knowledge base")
    concepts, rejects = read_kb(run.config.kb)
    progress.update(1, 3, "reading mentions")
    known = KnownConcepts(concepts)
    mentions, more = read_mentions(run.config.mentions, run.config.seed, known)
    progress.update(2, 3, "writing")
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
        "unknown_gold_ids": known.unknown.total(),
        "unknown_gold_examples": [i for i, _ in known.unknown.most_common(5)],
    }
