"""What a student makes of more candidates than the teacher chose from: `link.top_k`.

    python benchmarks/more_candidates.py --run-dir runs/askapatient

A candidate's score does not depend on the others, so the test mentions of a finished run are scored once, with the most candidates, and ranked
among fewer. Where "none of these" may be an answer it is left out here. Writes results/more_candidates.json.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from finished import annotated_test, run_in
from outcome import against, keep, shown

from rpdr.evaluation import evaluate, outcomes, paired_test
from rpdr.kb import load_kb
from rpdr.pipeline.details import how_drawn, resampling
from rpdr.reranker import Reranker, queries
from rpdr.retriever import add_candidates, distinct_rows
from rpdr.run.loaded import final_retriever, load_retriever


def main() -> int:
    """All numbers of candidates, one results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", default="runs/askapatient")
    parser.add_argument("--top-k", nargs="+", type=int, default=[5, 10, 20, 30])
    parser.add_argument("--data", default="Ask A Patient, fold 0")
    options = parser.parse_args()
    run = run_in(options.run_dir)
    settings, usual = run.config.retriever, run.config.final_top_k
    test = annotated_test(run)
    golds, drawn = [m.gold or [] for m in test], resampling(run, test)
    retriever = load_retriever(final_retriever(run), load_kb(run.concepts_file), settings)
    rows = add_candidates(retriever, pa.Table.from_pylist(distinct_rows(test)), max(options.top_k)).to_pylist()
    scores = Reranker.load(run.path("student"), run.config.student, run.config.link.batch_size).scores(queries(rows))
    place = {row["key"]: n for n, row in enumerate(rows)}

    def ranked(k: int) -> list[list[Any]]:
        best = [[row["candidate_ids"][i] for i in np.argsort(-s[:k], kind="stable")] for row, s in zip(rows, scores, strict=True)]
        return [best[place[m.key]] for m in test]

    none = np.zeros(len(test), dtype=bool)
    found = {k: evaluate(str(k), ranked(k), golds, none, resampling=drawn) for k in options.top_k}
    base = outcomes(ranked(usual), golds, 1)
    tests = {k: paired_test(outcomes(ranked(k), golds, 1), base, drawn) for k in options.top_k}
    right = {k: float(np.mean(outcomes(ranked(k), golds, k))) for k in options.top_k}
    keep(
        "more_candidates",
        f"python benchmarks/more_candidates.py --run-dir {Path(options.run_dir).name}",
        options.data,
        ("Candidates", "The right one among them", "Acc@1", f"against {usual}", "Acc@5"),
        [
            [
                str(k),
                f"{right[k]:.3f}",
                shown(found[k].acc_at_1),
                "(it)" if k == usual else against(tests[k]),
                shown(found[k].acc_at_5),
            ]
            for k in options.top_k
        ],
        protocol=f"A student that learned from {run.config.student.train_candidates or settings.top_k} candidates a mention, labelled by the sandbox "
        f"teacher at {run.config.teacher.sandbox.accuracy:.2f} out of {settings.top_k}; all {len(test):,} test mentions. {how_drawn(test)}.",
        acc_at_1={str(k): asdict(result.acc_at_1) for k, result in found.items()},
        tests={str(k): asdict(result) for k, result in tests.items()},
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
