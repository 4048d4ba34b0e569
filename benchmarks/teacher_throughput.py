"""How much of a rate limit the teacher's client uses, the CPU that a request takes it, and whether memory grows with the pool.

    RPDR_DATA=… python benchmarks/teacher_throughput.py [--small 20000 --large 200000]

Against a sandbox teacher in a process of its own. CPU is that of all processes of the job, Ray's among them, beside a bare asyncio loop
on the same SDK that sends the same prompts. Memory is what the job's processes have for themselves (USS), added up, at its peak. Writes
results/teacher_throughput.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import tempfile
import threading
import time
from bisect import bisect_left
from pathlib import Path
from typing import Any

import openai
import psutil
from outcome import keep, kept, machine
from rich.console import Console
from teacher_pool import DATA, Sandbox, make_pool, sandbox, teach

from rpdr.teacher.ledger import FILE

LIMITS = (50, 150)  # requests a second
PARTS = ("limits", "cpu", "memory")
A_FEW = 5_000  # mentions
SECONDS = 90  # of asking at a limit: a whole minute and more
LOOK_S = 2.0
ACTORS = 2  # in all parts, so that what is reached at a limit and without one can be compared


def main() -> int:
    """All three measurements, one results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=20_000)
    parser.add_argument("--large", type=int, default=200_000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="of the others, what was measured last is kept")
    options = parser.parse_args()
    found = kept("teacher_throughput")
    parts: dict[str, Any] = {name: found.get(name) for name in PARTS}
    on = found.get("measured_on", {})
    measure = {
        "limits": lambda: [_at_limit(limit) for limit in LIMITS],
        "cpu": lambda: {"bare": _bare(A_FEW), "job": _unlimited(A_FEW)},
        "memory": lambda: [_unlimited(size) for size in (options.small, options.large)],
    }
    for name in options.parts:
        parts[name], on[name] = measure[name](), machine()
        Console(stderr=True).print(name, parts[name])
    small, large = [pool["mentions"] for pool in parts["memory"]] if parts["memory"] else (options.small, options.large)
    command = f"python benchmarks/teacher_throughput.py --small {small} --large {large}"
    keep("teacher_throughput", command, DATA, ("Measured", "Value"), _rows(**parts), machines=on, measured_on=on, **parts)
    return 0


def _rows(limits: list[dict[str, Any]] | None, cpu: dict[str, Any] | None, memory: list[dict[str, Any]] | None) -> list[list[str]]:
    """What is shown of what was measured."""
    rows = []
    for row in limits or ():
        rows.append([f"share of a limit of {row['limit_per_s']} requests a second that is used, {_by(row)}", f"{row['share']:.1%}"])
        rows.append(["… of that limit in the fullest minute", f"{row['fullest_minute']:.1%}"])
    if cpu:
        bare, job = cpu["bare"], cpu["job"]
        rows += [
            [f"requests a second without a limit, {_by(job)}", f"{job['requests_per_s']:.0f}"],
            ["CPU a request, all processes of the job", f"{job['cpu_ms_a_request']:.1f} ms"],
            ["… of a bare asyncio loop on the same SDK", f"{bare['cpu_ms_a_request']:.1f} ms"],
            ["CPU a request ÷ the bare loop's", f"{job['cpu_ms_a_request'] / bare['cpu_ms_a_request']:.2f}"],
        ]
    if memory:
        rows += [
            [f"peak memory of the job's processes, {pool['mentions']:,} mentions, {_by(pool)}", f"{pool['peak_uss_mib']:,.0f} MiB"]
            for pool in memory
        ]
        rows.append(["peak memory, large pool ÷ small", f"{memory[1]['peak_uss_mib'] / memory[0]['peak_uss_mib']:.2f}"])
    return rows


def _by(measured: dict[str, Any]) -> str:
    return f"{measured['actors']} actor{'s' * (measured['actors'] > 1)}"


def _at_limit(limit: int) -> dict[str, Any]:
    """What share of a limit is used, from the first request to the last."""
    with tempfile.TemporaryDirectory() as folder:
        config = make_pool(Path(folder), limit * SECONDS, actors=ACTORS, concurrency=64, requests_per_minute=60 * limit, budget_usd=100.0)
        with sandbox(Path(folder), "--latency", "0.05", "--invalid-rate", "0") as server:
            _job(config, server, Path(folder))
            refused = server.meter()["refused"]
        first, last, requests = _sent(Path(folder))
        rate = (requests - 1) / (last - first)
        fullest = _fullest_minute(Path(folder)) / (60 * limit)
    return {
        "limit_per_s": limit,
        "actors": ACTORS,
        "reached_per_s": rate,
        "share": rate / limit,
        "fullest_minute": fullest,
        "refused_by_the_server": refused,
    }


def _unlimited(mentions: int) -> dict[str, Any]:
    """Rate, CPU a request and peak memory without a limit."""
    with tempfile.TemporaryDirectory() as folder:
        config = make_pool(Path(folder), mentions, actors=ACTORS, concurrency=64, budget_usd=1_000.0)
        with sandbox(Path(folder), "--latency", "0.05", "--invalid-rate", "0") as server:
            found = _job(config, server, Path(folder))
        first, last, requests = _sent(Path(folder))
    return {"mentions": mentions, "actors": ACTORS, "requests_per_s": (requests - 1) / (last - first), **found}


def _job(config: Path, server: Sandbox, folder: Path) -> dict[str, Any]:
    """Run `rpdr teach` to its end; CPU a request once it asks, and the peak of memory."""
    log = folder / "job.log"
    job = teach(config, server, log)
    peak, marks = 0.0, list[tuple[int, float]]()  # requests answered, CPU seconds
    stopped = threading.Event()

    def look() -> None:
        nonlocal peak
        while not stopped.wait(LOOK_S):
            processes = job.processes()
            peak = max(peak, sum(_uss(process) for process in processes) / 2**20)
            marks.append((server.meter()["sync"]["billed"], sum(map(_cpu_s, processes))))

    thread = threading.Thread(target=look)
    thread.start()
    code = job.process.wait()
    stopped.set()
    thread.join()
    if code:
        raise SystemExit(f"the job ended with {code}: {log.read_text()[-3000:]}")
    # between a quarter and nine tenths: neither start nor end
    total = marks[-1][0]
    inside = [mark for mark in marks if total / 4 <= mark[0] <= total * 0.9] or marks
    requests, cpu = inside[-1][0] - inside[0][0], inside[-1][1] - inside[0][1]
    return {"cpu_ms_a_request": 1e3 * cpu / max(1, requests), "peak_uss_mib": peak}


def _bare(requests: int) -> dict[str, Any]:
    """The same prompts by nothing but the SDK and a semaphore, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        config = make_pool(Path(folder), 64, actors=1, budget_usd=100.0)
        with sandbox(Path(folder), "--latency", "0.05", "--invalid-rate", "0") as server:
            _job(config, server, Path(folder))  # to have prompts as they are sent
            db = sqlite3.connect(Path(folder) / "run" / "ledger" / FILE)
            query = "SELECT p.messages, s.message, s.parameters FROM sent s JOIN prefixes p ON p.hash = s.prefix LIMIT 64"
            prompts = [([*json.loads(prefix), json.loads(last)], json.loads(rest)) for prefix, last, rest in db.execute(query)]
            db.close()

            async def ask() -> None:
                slots = asyncio.Semaphore(64)
                async with openai.AsyncOpenAI(base_url=server.base_url, api_key="benchmark", max_retries=0) as client:

                    async def one(n: int) -> None:
                        messages, rest = prompts[n % len(prompts)]
                        async with slots:
                            await client.chat.completions.create(model="m", messages=messages, **rest)

                    await asyncio.gather(*map(one, range(requests)))

            before, began = time.process_time(), time.monotonic()
            asyncio.run(ask())
            cpu, seconds = time.process_time() - before, time.monotonic() - began
    return {"cpu_ms_a_request": 1e3 * cpu / requests, "requests_per_s": requests / seconds}


def _fullest_minute(folder: Path) -> int:
    """Most requests that left within any 60 seconds."""
    db = sqlite3.connect(folder / "run" / "ledger" / FILE)
    times = [at for (at,) in db.execute("SELECT at FROM sent ORDER BY at")]
    db.close()
    return max(bisect_left(times, start + 60) - n for n, start in enumerate(times))


def _sent(folder: Path) -> tuple[float, float, int]:
    db = sqlite3.connect(folder / "run" / "ledger" / FILE)
    row = db.execute("SELECT min(at), max(at), count(*) FROM sent").fetchone()
    db.close()
    return row


def _uss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
        return times.user + times.system
    except psutil.Error:
        return 0.0


if __name__ == "__main__":
    raise SystemExit(main())
