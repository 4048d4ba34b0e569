"""Linking under kills: has the output every row once, is it what an undisturbed job writes, and how much was answered twice?

    RPDR_DATA=… python benchmarks/link_faults.py RUN_DIR [--mentions 20000] [--runs 10]

RUN_DIR is a finished run; the first mentions of RPDR_DATA/throughput are linked with its student, in a copy of it. Each run is killed once, by
SIGKILL at a random moment: the driver (then the same command is run again), an actor of the student, one of the retriever, or the raylet of the
second of two nodes on this machine. Writes results/link_faults.json, or, where the student is asked, results/link_faults_asked.json.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import socket
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from finished import run_in
from job import Job
from outcome import keep
from rich.console import Console
from spans import Linking, Unasked, as_job, spans

from rpdr.pipeline import link

KINDS = ("driver", "student", "retriever", "raylet")
ACTORS = {"student": "Counting", "retriever": "Retrieve"}
TALLY = "RPDR_TALLY"  # the file that every batch of the student's answers adds a line to


def _told(answered: pa.Table) -> pa.Table:
    """How many of them the models answered, to the tally."""
    with open(os.environ[TALLY], "a", encoding="ascii") as file:
        file.write(f"{pc.sum(pc.not_equal(answered['source'], 'exact')).as_py()}\n")
    return answered


class Counting(link.Rerank):
    """As its base, and tells how many it answered."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return _told(super().__call__(batch))


class CountingUnasked(Unasked):  # of one base: `as_job` patches the other's name, so an actor would know two of it
    """As its base, and tells how many it answered."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return _told(super().__call__(batch))


@dataclass(frozen=True)
class Killed:
    """One run: what was killed after how many answers, how often the job was started, and what came of it."""

    kind: str
    at: int
    starts: int
    lost: int
    doubled: int
    other_concepts: int
    largest_difference: float
    answered_twice: float


def main() -> int:
    """All runs, one results file."""
    if sys.argv[1:2] == ["--job"]:
        return as_job(Counting, CountingUnasked)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--mentions", type=int, default=20_000)
    parser.add_argument("--shard-mentions", type=int, default=500)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--unasked", action="store_true", help="the retriever's answers are taken: more mentions in the same time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = _measured(Path(folder), options)
    run = run_in(str(options.run_dir))
    columns = ("Killed", "Runs", "Rows lost", "Rows doubled", "Other concepts", "Largest difference of a confidence", "Answered twice")
    taken = "The retriever's answers are taken. " if options.unasked else ""
    protocol = f"{taken}Answered twice: of {found['answered_by_models']:,}, on average; what an actor had not finished when it was killed, a batch, is not counted."
    data = f"the first {options.mentions:,} spans of RPDR_DATA/throughput, linked to {PurePath(run.config.kb.path).name} by the finished run {run.folder.name}"
    name = "link_faults" if options.unasked else "link_faults_asked"
    keep(name, command(options), data, columns, _rows(found["runs"]), protocol=protocol, **found)
    return 0


def command(options: argparse.Namespace) -> str:
    """What makes these results again."""
    flags = {name: getattr(options, name.replace("-", "_")) for name in ("mentions", "runs", "shard-mentions", "seed")}
    kinds = [] if tuple(options.kinds) == KINDS else ["--kinds", *options.kinds]
    told = [*(f"--{name} {value}" for name, value in flags.items()), *kinds, *["--unasked"] * options.unasked]
    return " ".join(["python benchmarks/link_faults.py", options.run_dir.name, *told])


def _measured(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    bench = Bench(folder, options)
    undisturbed, answers = bench.undisturbed()
    rng = random.Random(options.seed)
    runs = []
    for number in range(options.runs):
        kind = options.kinds[number % len(options.kinds)]
        runs.append(bench.killed(f"killed-{number}", kind, int(rng.uniform(0.1, 0.9) * answers), undisturbed, answers))
        Console(stderr=True).print(str(runs[-1]))
    return {"mentions": undisturbed.num_rows, "answered_by_models": answers, "runs": [asdict(run) for run in runs]}


class Bench:
    """A corpus, and jobs that link it."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.jobs = Linking(__file__, folder, options.run_dir, f"link.shard_mentions={options.shard_mentions}", unasked=options.unasked)
        self.folder, self.corpus, self.tally = folder, folder / "corpus.tsv", folder / "tally.txt"
        self.corpus.write_text("\n".join(["mention", *spans(options.mentions)]) + "\n", encoding="utf-8")
        self.tally.touch()
        self.told = {TALLY: str(self.tally)}

    def undisturbed(self) -> tuple[pa.Table, int]:
        """(what is linked, how many mentions the models answered)."""
        self.jobs.failed("undisturbed", self._start("undisturbed"))
        return self.jobs.linked("undisturbed"), self._answers()

    def killed(self, name: str, kind: str, at: int, undisturbed: pa.Table, answers: int) -> Killed:
        """Link, kill `kind` after `at` answers, start again where that ended the job, and compare."""
        before, starts = self._answers(), 1
        with ExitStack() as stack:
            environment, second = stack.enter_context(self._two_nodes()) if kind == "raylet" else ({}, None)
            job = self._start(name, **environment)
            while self._answers() - before < at and job.process.poll() is None:
                time.sleep(0.1)
            must_kill(kind, job, second)
            while self.jobs.failed(name, job, must=starts > 3):
                job, starts = self._start(name, **environment), starts + 1
        linked = self.jobs.linked(name)
        ids, wanted = linked["mention_id"], undisturbed["mention_id"]
        same = linked.num_rows == undisturbed.num_rows and ids.equals(wanted)
        others = (
            pc.sum(pc.not_equal(pc.fill_null(linked["concept_id"], ""), pc.fill_null(undisturbed["concept_id"], ""))).as_py()
            if same
            else -1
        )
        apart = pc.max(pc.abs(pc.subtract(linked["confidence"], undisturbed["confidence"]))).as_py() if same else float("nan")
        return Killed(
            kind,
            at,
            starts,
            len(set(wanted.to_pylist()) - set(ids.to_pylist())),
            linked.num_rows - len(set(ids.to_pylist())),
            others,
            apart,
            (self._answers() - before - answers) / answers,
        )

    def _start(self, name: str, **environment: str) -> Job:
        return self.jobs.start(name, self.corpus, **{**self.told, **environment})

    @contextmanager
    def _two_nodes(self) -> Iterator[tuple[dict[str, str], Job]]:
        """(environment of a driver, the second node) of a cluster on this machine."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        told = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), **self.told}
        node = ("-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1", "--object-store-memory", str(300 * 2**20))
        head = Job(
            [*node, "--head", "--port", address.rpartition(":")[2], "--include-dashboard", "false"], self.folder / "head.log", **told
        )
        time.sleep(10)
        second = Job([*node, "--address", address], self.folder / "second.log", **told)
        time.sleep(10)
        try:
            yield {**told, "RAY_ADDRESS": address}, second
        finally:
            for job in (second, head):
                job.sweep()

    def _answers(self) -> int:
        return sum(map(int, self.tally.read_text(encoding="ascii").split()))


def must_kill(kind: str, job: Job, second: Job | None) -> None:
    """Kill it, of `second` its raylet; SystemExit where it was not there: a run of which nothing was killed shows nothing."""
    ended = job.process.poll() is not None
    if ended or not (second.kill_process("raylet/raylet") if second else job.kill(ACTORS.get(kind, kind))):
        raise SystemExit(f"nothing was killed: {'the job had ended' if ended else f'no {kind} was found'}; give it more --mentions")


def _rows(runs: list[dict[str, Any]]) -> list[list[str]]:
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        by_kind[run["kind"]].append(run)
    return [
        [
            kind,
            str(len(some)),
            *(str(sum(run[name] for run in some)) for name in ("lost", "doubled", "other_concepts")),
            f"{max(run['largest_difference'] for run in some):.1e}",
            f"{sum(run['answered_twice'] for run in some) / len(some):.1%}",
        ]
        for kind, some in by_kind.items()
    ]


if __name__ == "__main__":
    raise SystemExit(main())
