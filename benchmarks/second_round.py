"""What a second round of the retriever finds that the first did not: the test mentions' candidates before and after.

    python benchmarks/second_round.py --run-dir runs/askapatient

Of a run whose stage `retune` is finished; no student is needed. Writes results/second_round.json.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
from finished import annotated_test, run_in
from outcome import against, keep, shown

from rpdr.evaluation import evaluate, outcomes, paired_test
from rpdr.pipeline.candidates import load_candidates
from rpdr.pipeline.details import how_drawn, resampling


def main() -> int:
    """Both rounds, one results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", default="runs/askapatient")
    parser.add_argument("--data", default="Ask A Patient, fold 0")
    options = parser.parse_args()
    run = run_in(options.run_dir)
    teacher, second = run.summary("teach"), run.summary("retune")
    learned = [f"tuned again on the teacher's {second['teacher_pairs']:,} labels too"] if second["tuned"] else []
    learned += [f"{second['aliases']:,} linked mentions are names of their concepts too"] if second["aliases"] else []
    learned += ["what is commonly meant counts"] if second.get("commonness") else []
    test = annotated_test(run)
    golds, drawn = [m.gold or [] for m in test], resampling(run, test)
    ranked = [[found[m.key]["candidate_ids"] for m in test] for found in (load_candidates(run), load_candidates(run, final=True))]
    before, after = (evaluate(name, r, golds, np.zeros(len(test), bool), resampling=drawn) for name, r in zip("12", ranked, strict=True))
    tests = {k: paired_test(outcomes(ranked[1], golds, k), outcomes(ranked[0], golds, k), drawn) for k in (1, 5, 10)}
    keep(
        "second_round",
        f"python benchmarks/second_round.py --run-dir {Path(options.run_dir).name}",
        options.data,
        ("", "First round", "Second", "Difference"),
        [
            [name, shown(getattr(before, key)), shown(getattr(after, key)), against(tests[k])]
            for name, key, k in (("Acc@1", "acc_at_1", 1), ("Acc@5", "acc_at_5", 5), ("Recall@10", "recall_at_10", 10))
        ],
        protocol=f"`{run.config.retriever.model}`, tuned on {run.summary('retriever')['labelled_pairs']:,} labelled mentions and the knowledge "
        f"base's names; second round: {' and '.join(learned)}. The sandbox teacher labelled at an accuracy of "
        f"{run.config.teacher.sandbox.accuracy:.2f} for ${teacher['spent_usd']:.2f}. All {len(test):,} test mentions. "
        f"{how_drawn(test)}.",
        before=asdict(before),
        after=asdict(after),
        tests={str(k): asdict(result) for k, result in tests.items()},
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
