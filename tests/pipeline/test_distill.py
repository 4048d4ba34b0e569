"""Stage `distill` without training: what is learned from and measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rpdr.config import Config
from rpdr.corpus import Mention
from rpdr.corpus.mention import save_mentions
from rpdr.files import write_rows
from rpdr.pipeline.distill import gold_examples
from rpdr.pipeline.run import Run
from rpdr.schema import CANDIDATES, NIL, MentionKey


def run_in(folder: Path) -> Run:
    sources = {"kb": {"format": "obo", "path": "x"}, "mentions": [{"format": "jsonl", "path": "x"}]}
    return Run(Config.model_validate({"run_dir": str(folder), **sources, "retriever": {"rounds": 1, "aliases": False}}))


def test_of_gold_with_alternatives_each_is_right(tmp_path: Path):
    run = run_in(tmp_path)
    golds: list[tuple[Any, tuple[int, ...]]] = [
        ([["C1"], ["C2"]], (1, 2)),
        ([["C3", "C1"]], (1, 3)),
        ([["C2"], ["C3", "C1"]], (1, 2, 3)),
        ([["C9"], ["C0"]], (0,)),
        ([["C9"]], (NIL,)),
        ([], (NIL,)),
    ]
    keys = [MentionKey(f"k{n}") for n in range(len(golds))]
    save_mentions(
        run.path("corpus", "mentions.parquet"),
        [Mention(key, key, "t", None, None, None, "dev", gold) for key, (gold, _) in zip(keys, golds, strict=True)],
    )
    names = ["C0", "C1", "C2", "C3"]
    offer = {"text": "t", "candidate_ids": names, "candidate_names": names, "matched_names": names, "scores": [0.4, 0.3, 0.2, 0.1]}
    write_rows(
        run.path("candidates", "candidates.parquet"), [{"key": key, "context": None, "type": None, **offer} for key in keys], CANDIDATES
    )
    assert [(example.named, example.trust) for example in gold_examples(run, "dev")] == [(named, 1.0) for _, named in golds]
