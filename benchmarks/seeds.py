"""How much of a figure is the draw of one run: a set's run again by other seeds.

    RPDR_DATA=… RPDR_MODELS=… python benchmarks/seeds.py --set askapatient --seeds 13 14 15

Each seed is a run of its own, for a teacher of 0.90: what the encoder and the student draw in training is another, and so are the mentions in which the
simulated teacher errs; who is labelled, dev or test is not. The config's own seed is the run that `six_sets.py` makes in the same --root. A row a seed and one
of all in results/seeds.json, which keeps what other calls have measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from finished import metrics_of, student_over
from outcome import in_short, keep, kept, machine
from six_sets import MAIN, SETS, run_until, settings, systems_of

from rpdr.pipeline.systems import LABELLED_NAMES, RETRIEVER, SECOND, STUDENT, TITLES
from rpdr.run import Run

NAME = "seeds"
SYSTEMS = {RETRIEVER: "Few labels", LABELLED_NAMES: "… as names too", SECOND: "Second round", STUDENT: "Student"}
UNDER = (RETRIEVER, SECOND)  # what the student is compared with


def main() -> int:
    """The results file is written after each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs") / "six_sets")
    parser.add_argument("--set", choices=list(SETS), default="askapatient", dest="name")
    parser.add_argument("--seeds", nargs="+", type=int, default=[13, 14, 15])
    options = parser.parse_args()
    for seed in options.seeds:
        found: dict[str, Any] = kept(NAME).get("runs", {})
        found.setdefault(options.name, {})[str(seed)] = _measured(options.name, seed, options.root)
        _write(found)
    return 0


def _measured(name: str, seed: int, root: Path) -> dict[str, Any]:
    config = settings(name, MAIN, root)
    if seed != config.seed:
        config = settings(name, MAIN, root, no_baselines=True, seed=seed, run_dir=str(root / f"{name}-{MAIN:g}-seed-{seed}"))
    run_until("report", config, [])
    metrics = metrics_of(Run(config))
    of = systems_of(metrics)
    tests = student_over(metrics)
    return {
        "acc_at_1": {system: of[TITLES[system]]["acc_at_1"]["value"] for system in SYSTEMS},
        "student_over": {system: tests[TITLES[system]] for system in UNDER},
        "ece": metrics["calibration"]["ece"],
        "protocol": metrics["protocol"],
        "machine": machine(),
    }


def _write(found: dict[str, Any]) -> None:
    keep(
        NAME,
        " && ".join(
            f"RPDR_DATA=… RPDR_MODELS=… python benchmarks/seeds.py --set {name} --seeds {' '.join(sorted(of))}"
            for name, of in found.items()
        ),
        "Each set by its config in jobs/configs, but for the seed",
        ("Set", "Seed", *SYSTEMS.values(), *(f"Student over {SYSTEMS[system].lower()}" for system in UNDER), "ECE"),
        [row for name in SETS if name in found for row in _rows(SETS[name], found[name])],
        protocol="Acc@1 on all test mentions, a teacher of 0.90. With a seed, what encoder and student draw in training is another, and the mentions in which the simulated "
        "teacher errs; who is labelled, dev and test is not. Tests as in the table of the six sets, each of one seed. All: the mean, and the least and the most.",
        machines={f"{SETS[name]} ({seed})": of_one["machine"] for name in found for seed, of_one in found[name].items()},
        runs=found,
    )


def _rows(title: str, seeds: dict[str, Any]) -> list[list[str]]:
    """A row a seed, and one of all."""
    rows = [
        [
            *("" if n else title, seed),
            *(f"{of_one['acc_at_1'][system]:.3f}" for system in SYSTEMS),
            *(in_short(of_one["student_over"][system]["difference"], of_one["student_over"][system]["p_value"]) for system in UNDER),
            f"{of_one['ece']:.3f}",
        ]
        for n, (seed, of_one) in enumerate(sorted(seeds.items()))
    ]
    if len(seeds) > 1:
        of_all = list(seeds.values())
        rows.append(
            [
                *("", "all"),
                *(_spread([of_one["acc_at_1"][system] for of_one in of_all]) for system in SYSTEMS),
                *(_spread([of_one["student_over"][system]["difference"] for of_one in of_all], "+") for system in UNDER),
                _spread([of_one["ece"] for of_one in of_all]),
            ]
        )
    return rows


def _spread(values: list[float], sign: str = "") -> str:
    return f"{np.mean(values):{sign}.3f} ({min(values):{sign}.3f} – {max(values):{sign}.3f})"


if __name__ == "__main__":
    raise SystemExit(main())
