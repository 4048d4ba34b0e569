"""How often a student's answer changes when its candidates come in another order.

    python benchmarks/order.py --run-dir runs/askapatient [--reshuffles 1000]

The test mentions of a finished run, once each and again from the start until there are enough, each with its candidates shuffled; an
answer has changed if it is another concept, or NIL in its place, or not any more. Writes results/order.json.
"""

from __future__ import annotations

import argparse
import random
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from finished import answers, run_in
from outcome import keep

from rpdr.corpus import load_mentions
from rpdr.reranker import Reranker, queries
from rpdr.run.found import load_candidates


def main() -> int:
    """One number, one results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", default="runs/askapatient")
    parser.add_argument("--reshuffles", type=int, default=1000)
    options = parser.parse_args()
    run = run_in(options.run_dir)
    found = load_candidates(run, final=True)
    keys = dict.fromkeys(m.key for m in load_mentions(run.mentions_file, "test"))
    asked = queries(found[key] for key in keys)
    student = Reranker.load(run.path("student"), run.config.student, run.config.link.batch_size)
    rng = random.Random(run.config.seed)
    some = list(islice(cycle(enumerate(asked)), options.reshuffles))
    orders = [rng.sample(range(len(query.candidate_names)), len(query.candidate_names)) for _, query in some]
    straight = student.scores(asked)
    shuffled = student.scores([query.with_candidates(order) for (_, query), order in zip(some, orders, strict=True)])
    before, after = (answers(student, scores, run.config.link.allow_nil)[0].tolist() for scores in (straight, shuffled))
    flips, moved = 0, 0.0
    for (n, _), order, place, scores in zip(some, orders, after, shuffled, strict=True):
        flips += (order[place] if place >= 0 else place) != before[n]
        moved = max(moved, float(np.abs(scores[[*range(len(order)), -1]] - straight[n, [*order, -1]]).max()))
    keep(
        "order",
        f"python benchmarks/order.py --run-dir {Path(options.run_dir).name} --reshuffles {options.reshuffles}",
        run.folder.name,
        ("Measured", "Value"),
        [
            ["reshuffles", f"{len(some):,} of {len(asked):,} mentions"],
            ["answers that changed", f"{flips:,} ({flips / len(some):.1%})"],
            ["largest change of a score", f"{moved:.2g}"],
        ],
        flips=flips,
        reshuffles=len(some),
        largest_change=moved,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
