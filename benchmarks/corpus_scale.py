"""A corpus of millions: how long linking it takes, and whether memory or time grow with it.

    RPDR_DATA=… python benchmarks/corpus_scale.py RUN_DIR [--times 10] [--minutes 60] [--only retriever student growth] [--beside-others]

RUN_DIR is a finished run; the spans of RPDR_DATA/throughput are linked in a copy of it, by `rpdr link --corpus` with a copy of the retriever and one of
the student a core.
- retriever: all of them, and the retriever's answers are taken: the student is there, but is asked about nothing.
- tenth: the first tenth of them, in the same way.
- student: all of them, by the config as it is, stopped after so many `--minutes`. Shards are drawn by the hash of a mention's text, so what is done by then
  is like the rest.
- growth: the first million as retriever, then ten times as many: the million, and fresh spans made of it by recombination (the first half of one
  and the second half of another, each as often as the first), so that the share of distinct mentions stays.
Memory is what the job's processes hold that no file can give back: private memory, and the object store's. Writes results/corpus_scale.json, and keeps
there what other calls have measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from finished import run_in
from job import Job
from outcome import keep, kept, machine
from spans import Linking, Unasked, as_job, spans

from rpdr.pipeline import link
from rpdr.pipeline.linked import COUNTED
from rpdr.pipeline.progress import Stopwatch
from rpdr.pipeline.store import MANIFEST
from rpdr.run import linking
from rpdr.show import number

NAME = "corpus_scale"
PARTS = ("retriever", "tenth", "student", "growth")
ALONE = "growth_alone"  # the last pair that was linked with the machine to itself, where the newest was not
MILLION = 1_000_000
RATIOS = {"distinct": "distinct", "time": "seconds", "peak memory": "peak_mib", "of the driver alone": "peak_driver_mib"}
LOOK_S = 2.0
SEED = 13


def main() -> int:
    """What is wanted, one results file."""
    if sys.argv[1:2] == ["--job"]:
        return as_job(link.Rerank, Unasked)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--beside-others", action="store_true", help="the machine has other work meanwhile: of growth, times are not compared"
    )
    options = parser.parse_args()
    found: dict[str, Any] = kept(NAME).get("found", {})
    for part in options.only:
        with tempfile.TemporaryDirectory() as folder:
            sets = [f"link.{pool}_actors={os.cpu_count()}" for pool in ("retriever", "student")]
            jobs = Linking(__file__, Path(folder), options.run_dir, *sets, unasked=part != "student")
            if part == "growth" and options.beside_others and part in found and not found[part].get("beside_others"):
                found[ALONE] = found[part]
            measured = {"retriever": _retriever, "tenth": _tenth, "student": _student, "growth": _growth}[part](jobs, options)
            found[part] = {**measured, "command": command(options), "machine": machine()}
        _keep(found, options)
    return 0


def _retriever(jobs: Linking, options: argparse.Namespace) -> dict[str, Any]:
    return _linked(jobs, "whole", spans())


def _tenth(jobs: Linking, options: argparse.Namespace) -> dict[str, Any]:
    return _linked(jobs, "tenth", spans(sum(1 for _ in spans()) // 10))


def _student(jobs: Linking, options: argparse.Namespace) -> dict[str, Any]:
    return _linked(jobs, "asked", spans(), 60 * options.minutes)


def _growth(jobs: Linking, options: argparse.Namespace) -> dict[str, Any]:
    first = list(spans(MILLION))
    one, more = _linked(jobs, "one", first), _linked(jobs, "more", recombined(first, options.times))
    return {"one": one, "more": more, "times": options.times, "beside_others": options.beside_others}


def recombined(first: list[str], times: int) -> Iterator[str]:
    """The spans, and then fresh ones: in each round every distinct span is another, made of its first half and the second half of a random one."""
    yield from first
    distinct = list(dict.fromkeys(first))
    halves = [text.split() for text in distinct]
    rng, seen = random.Random(SEED), set(distinct)
    for _ in range(times - 1):
        fresh = {}
        for text, words in zip(distinct, halves, strict=True):
            new = text
            while new in seen:
                other = rng.choice(halves)
                new = " ".join(words[: -(-len(words) // 2)] + other[len(other) // 2 :])
            seen.add(new)
            fresh[text] = new
        yield from (fresh[text] for text in first)


def _linked(jobs: Linking, name: str, texts: Iterable[str], stop_after_s: float | None = None) -> dict[str, Any]:
    """Link them, and stop where that is wanted: what was done, in how long, and in how much memory."""
    corpus = jobs.folder / f"{name}.tsv"
    with corpus.open("w", encoding="utf-8") as file:
        file.write("mention\n")
        file.writelines(f"{text}\n" for text in texts)
    began, watch = time.time(), Stopwatch()
    job = jobs.start(name, corpus)
    memory = Memory(job)
    if stop_after_s is None:
        jobs.failed(name, job, patience_s=None)
    else:
        with suppress(subprocess.TimeoutExpired):
            job.process.wait(stop_after_s)
        job.kill("driver")
    seconds, peak = watch.seconds, memory.end()
    told = json.loads((jobs.output(name) / MANIFEST).read_text())
    shards = sorted(
        (((jobs.output(name) / shard["file"]).stat().st_mtime - began, shard) for shard in told["shards"].values()), key=lambda s: s[0]
    )
    done = {counted: sum(shard[counted] for _, shard in shards) for counted in COUNTED}
    summary = run_in(str(jobs.run)).summary(linking(name).name)
    return {
        **done,
        "shards": len(shards),
        "of_shards": told["of"],
        "seconds": seconds,
        "first_shard_s": shards[0][0],
        "million_s": _by_million([at for at, _ in shards], [shard["mentions"] for _, shard in shards]),
        **peak,
        **{key: summary[key] for key in ("link_s", "retriever_mentions_per_s", "student_mentions_per_s") if key in summary},
    }


def _by_million(at: list[float], mentions: list[int]) -> list[float]:
    """Seconds of the first million, from the job's start, and of each further one, by when the shards were written (`at`, ascending)."""
    done = np.cumsum(mentions)
    times = [at[int(np.searchsorted(done, much))] for much in range(MILLION, int(done[-1]) + 1, MILLION)]
    return np.diff([0.0, *times]).tolist()


class Memory:
    """Watches what a job's processes hold, until `end`."""

    def __init__(self, job: Job) -> None:
        self._job, self._ended, self._peak = job, threading.Event(), {"peak_mib": 0.0, "peak_driver_mib": 0.0}
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def end(self) -> dict[str, float]:
        """The most of all together, and of the driver."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            held = {process.pid: _held_mib(process.pid) for process in self._job.processes()}
            now = {"peak_mib": sum(held.values()), "peak_driver_mib": held.get(self._job.process.pid, 0.0)}
            self._peak = {name: max(now[name], most) for name, most in self._peak.items()}


def _held_mib(process: int) -> float:
    """Of its memory, its share of what is no file's (proc_pid_smaps_rollup(5)); 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))) / 1024


def _keep(found: dict[str, Any], options: argparse.Namespace) -> None:
    titles = {"retriever": "All spans, the retriever's answers taken", "tenth": "… a tenth of them", "student": "All spans, by the config"}
    rows = [_row(titles[part], found[part]) for part in titles if part in found]
    grown = found.get("growth", {})
    if grown:
        rows += [_row("The first million, as the first row", grown["one"]), _row(f"{grown['times']} times as many", grown["more"])]
    keep(
        NAME,
        " && ".join(dict.fromkeys(found[part]["command"] for part in PARTS if part in found)),
        "RPDR_DATA/throughput, 1.9 million spans of real medical text",
        ("Corpus", "Mentions", "Distinct", "Minutes", "Mentions a second", "Distinct a second", "Peak memory, MiB"),
        rows,
        protocol=_protocol(found),
        machines={part: measured["machine"] for part, measured in found.items()},
        found=found,
    )


def command(options: argparse.Namespace) -> str:
    """What makes the parts of a call again."""
    only = "" if tuple(options.only) == PARTS else f" --only {' '.join(options.only)}"
    beside = " --beside-others" * options.beside_others
    return f"python benchmarks/corpus_scale.py {options.run_dir.name} --times {options.times} --minutes {options.minutes:g}{only}{beside}"


def _row(title: str, linked: dict[str, Any]) -> list[str]:
    part = "" if linked["shards"] == linked["of_shards"] else f", {linked['shards']} of {linked['of_shards']} shards"
    rates = (number(linked[counted] / linked["seconds"]) for counted in ("mentions", "distinct"))
    return [
        title + part,
        f"{linked['mentions']:,}",
        f"{linked['distinct']:,}",
        f"{linked['seconds'] / 60:.1f}",
        *rates,
        f"{linked['peak_mib']:,.0f}",
    ]


def _protocol(found: dict[str, Any]) -> str:
    told = [
        "From the command to its end, reading, spreading and loading included; memory: of all of the job's processes, private and the object store's"
    ]
    if {"retriever", "tenth"} <= found.keys():
        whole, tenth = found["retriever"], found["tenth"]
        grown_by = ", ".join(f"{what} {whole[key] / tenth[key]:.2f}" for what, key in RATIOS.items())
        told.append(f"All ÷ a tenth: {grown_by}")
    grown = found.get("growth")
    if grown and grown.get("beside_others"):
        told.append(f"{grown['times']} times as many ÷ the million: peak memory {_peaks(grown):.2f}")
        told.append("Both were linked beside other work, which slowed the million most: their times are not compared")
        if ALONE in found:
            told.append(f"When they were last linked alone, by earlier code, {_grown(found[ALONE])}")
    elif grown:
        told.append(_grown(grown))
    return ". ".join(told) + "."


def _grown(grown: dict[str, Any]) -> str:
    one, more = grown["one"], grown["more"]
    first, *further = more["million_s"]
    return (
        f"{grown['times']} times as many ÷ the million: peak memory {_peaks(grown):.2f}, time {more['seconds'] / one['seconds']:.1f}; each further "
        f"million ÷ the first of them {sum(further) / len(further) / first:.2f}"
    )


def _peaks(grown: dict[str, Any]) -> float:
    return float(grown["more"]["peak_mib"] / grown["one"]["peak_mib"])


if __name__ == "__main__":
    raise SystemExit(main())
