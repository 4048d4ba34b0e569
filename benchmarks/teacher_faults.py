"""The teacher under faults and kills: does the cap hold by the server's own meter, is every mention labelled once, what is paid twice?

    RPDR_DATA=… python benchmarks/teacher_faults.py [--mentions 20000] [--batch-mentions 20000]

Sync: 20 % 429, 5 % 5xx, 3 % hangs, 2 % cut connections, 2 % malformed JSON, 2 % out-of-range answers, four actors, and SIGKILL at five
random moments (driver, actor and governor in turn). Batch: batches that expire, fail whole and fail in part, and two kills. Both first under
a cap that cannot cover the pool, then under one that can. Writes results/teacher_faults.json.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from outcome import keep, kept, machine
from rich.console import Console
from teacher_pool import DATA, Sandbox, label_keys, make_pool, sandbox, teach

from rpdr.teacher import Ledger
from rpdr.teacher.ledger import FILE

FAULTS = {"rate_limited": 0.2, "server_error": 0.05, "hang": 0.03, "cut": 0.02, "malformed": 0.02, "out_of_range": 0.02}
BATCH_FAULTS = {"batch_expire": 0.2, "batch_line_fail": 0.02, "batch_fail": 0.1}
MODES = ("sync", "batch")
KILLS = ("driver", "AskActor", "Governor", "driver", "AskActor")
EXPECTED_USD = 350e-6  # of one answer, to set a cap that binds; measured ones are in the result


def main() -> int:
    """Both modes, one results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mentions", type=int, default=20_000)
    parser.add_argument("--batch-mentions", type=int, default=20_000)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES, help="of the other, what was measured last is kept")
    parser.add_argument("--seed", type=int, default=13)
    options = parser.parse_args()
    before = kept("teacher_faults")
    found = {mode: before[mode] for mode in MODES if mode not in options.modes}
    for mode, measure, mentions in (("sync", _sync, options.mentions), ("batch", _batch, options.batch_mentions)):
        if mode in options.modes:
            with tempfile.TemporaryDirectory() as folder:
                found[mode] = {**measure(Path(folder), mentions, random.Random(options.seed)), "machine": machine()}
    sync, batch = found["sync"], found["batch"]
    command = f"python benchmarks/teacher_faults.py --mentions {sync['mentions']} --batch-mentions {batch['mentions']}"
    machines = {mode: found[mode]["machine"] for mode in MODES}
    keep("teacher_faults", command, DATA, ("", "sync", "batch"), rows(sync, batch), machines=machines, **found)
    return 0


def _sync(folder: Path, mentions: int, rng: random.Random) -> dict[str, Any]:
    config = make_pool(folder, mentions, actors=4, concurrency=16, timeout_s=3.0, max_attempts=8, budget_usd=1.0)
    flags = [part for name, rate in FAULTS.items() for part in (f"--{name.replace('_', '-')}", str(rate))]
    with sandbox(folder, *flags, "--invalid-rate", "0", "--latency", "0.05", "--retry-after-s", "0.05", "--count-questions") as server:
        low, enough = mentions * EXPECTED_USD / 2, mentions * EXPECTED_USD * 4
        watch = Watch(folder, server)
        moments = sorted(rng.uniform(0.08, 0.92) * mentions / 2 for _ in KILLS[:3])
        capped = _run(config, server, watch, folder, low, list(zip(moments, KILLS[:3], strict=True)))
        at_the_cap = watch.look()
        moments = sorted(at_the_cap["answered"] + rng.uniform(0.1, 0.9) * (mentions - at_the_cap["answered"]) for _ in KILLS[3:])
        whole = _run(config, server, watch, folder, enough, list(zip(moments, KILLS[3:], strict=True)))
        watch.stop()
        found = _account(folder, server, mentions)
    lost = found["meter"]["lost"]  # a malformed reply is unreadable too: it counts once
    in_faults = sum(lost.values()) + max(0, found["unreadable"] - lost.get("malformed", 0))
    kills = [*capped, *whole]
    return {
        **found,
        **_at_the_cap(low, at_the_cap, watch),
        "faults": FAULTS,
        "kills": kills,
        "paid_for_lost_or_unreadable_answers": in_faults,
        # each of them is one more call that had to be paid, but for what was set aside after two: what else was paid is ours
        "paid_calls_to_a_clean_pass_with_these_faults": found["meter"]["sync"]["billed"]
        / (mentions + in_faults - sum(found["set_aside"].values())),
        "median_seconds_lost_to_a_kill": sorted(kill["seconds_lost"] for kill in kills)[len(kills) // 2],
    }


def _batch(folder: Path, mentions: int, rng: random.Random) -> dict[str, Any]:
    batch = {"requests": max(1, mentions // 20), "at_once": 4, "poll_s": 0.5}
    config = make_pool(folder, mentions, mode="batch", batch=batch, max_attempts=10, budget_usd=1.0)
    flags = [part for name, rate in BATCH_FAULTS.items() for part in (f"--{name.replace('_', '-')}", str(rate))]
    with sandbox(folder, *flags, "--invalid-rate", "0", "--batch-seconds", "4", "--count-questions") as server:
        low, enough = mentions * EXPECTED_USD / 4, mentions * EXPECTED_USD * 4  # answers cost half; a batch reserves its worst case whole
        watch = Watch(folder, server)
        moments = [rng.uniform(0.1, 0.3) * mentions, rng.uniform(0.6, 0.9) * mentions]
        capped = _run(config, server, watch, folder, low, [(moments[0], "driver")])
        at_the_cap = watch.look()
        whole = _run(config, server, watch, folder, enough, [(max(moments[1], at_the_cap["answered"] + 1), "driver")])
        watch.stop()
        found = _account(folder, server, mentions)
    return {**found, **_at_the_cap(low, at_the_cap, watch), "faults": BATCH_FAULTS, "kills": [*capped, *whole]}


def _at_the_cap(cap: float, seen: dict[str, Any], watch: Watch) -> dict[str, Any]:
    return {
        "cap_usd": cap,
        "answered_at_the_cap": seen["answered"],
        "meter_usd_at_the_cap": seen["usd"],
        "share_of_the_cap_by_the_meter": seen["usd"] / cap,
        "cap_ever_passed": watch.passed,
    }


class Watch:
    """Looks at the ledger and at the server's meter while jobs run."""

    def __init__(self, folder: Path, server: Sandbox) -> None:
        self.folder, self.server, self.cap, self.passed = folder, server, float("inf"), False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def look(self) -> dict[str, Any]:
        """`answered` questions by the ledger, dollars by the server's own meter."""
        return {"answered": self.answered(), "usd": self.server.meter()["usd"]}

    def answered(self) -> int:
        """By the ledger, read as any other process may."""
        path = self.folder / "run" / "ledger" / FILE
        if not path.exists():
            return 0
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        try:
            return int(db.execute("SELECT count(*) FROM ended WHERE state = 'valid'").fetchone()[0])
        except sqlite3.OperationalError:  # not made yet
            return 0
        finally:
            db.close()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(0.5):
            self.passed |= self.server.meter()["usd"] > self.cap


def _run(config: Path, server: Sandbox, watch: Watch, folder: Path, cap: float, kills: list[tuple[float, str]]) -> list[dict[str, Any]]:
    """Start the job until it ends by itself, killing what is named when so many questions are answered; what each kill cost."""
    watch.cap = cap
    found = []
    log = folder / "job.log"
    job = teach(config, server, log, f"teacher.budget_usd={cap}")
    while True:
        if kills and watch.answered() >= kills[0][0]:
            _, what = kills.pop(0)
            before, at = watch.answered(), time.monotonic()
            if job.kill(what):
                if what == "driver":
                    job = teach(config, server, log, f"teacher.budget_usd={cap}")
                while watch.answered() < before + 50 and job.process.poll() is None:
                    time.sleep(0.1)
                found.append({"killed": what, "at": before, "seconds_lost": round(time.monotonic() - at, 1)})
                Console(stderr=True).print(found[-1])
        if job.process.poll() is not None:
            if job.process.returncode:
                raise SystemExit(f"the job ended with {job.process.returncode}: {log.read_text()[-3000:]}")
            return found
        time.sleep(0.2)


def _account(folder: Path, server: Sandbox, mentions: int) -> dict[str, Any]:
    meter, ledger = server.meter(), Ledger(folder / "run" / "ledger")
    labels, aside = label_keys(folder / "run")
    states = Counter[str]()
    in_flight = unreadable = 0
    for row in ledger.rows().to_pylist():
        states[row["state"]] += 1
        in_flight += row["state"] == "open" or (row["state"] == "lost" and "died" in row["reason"])
        unreadable += row["state"] == "invalid"
    billed = meter["sync"]["billed"] + meter["batch"]["billed"]
    return {
        "mentions": mentions,
        "labelled": len(labels),
        "labelled_twice": len(labels) - len(set(labels)),
        "set_aside": dict(Counter(row["reason"] for row in aside)),
        "unaccounted": mentions - len({*labels, *(row["key"] for row in aside)}),
        "requests_by_end": dict(states),
        "in_flight_at_kills": in_flight,
        "unreadable": unreadable,
        "meter": meter,
        "ledger_usd": ledger.spent_usd(),
        "paid_calls_to_a_clean_pass": billed / mentions,
    }


def rows(sync: dict[str, Any], batch: dict[str, Any]) -> list[list[str]]:
    """What is shown of both."""

    def told(found: dict[str, Any]) -> list[str]:
        forced = found.get("paid_calls_to_a_clean_pass_with_these_faults")
        return [
            f"{found['mentions']:,}",
            ", ".join(f"{name.replace('_', ' ')} {rate:.0%}" for name, rate in found["faults"].items()),
            ", ".join(f"{what} {n}" for what, n in Counter(kill["killed"] for kill in found["kills"]).items()),
            f"{found['share_of_the_cap_by_the_meter']:.0%} of it",
            "yes" if found["cap_ever_passed"] else "no",
            f"{found['labelled']:,} / {sum(found['set_aside'].values()):,}",
            f"{found['labelled_twice']:,} / {found['unaccounted']:,}",
            f"{found['paid_calls_to_a_clean_pass']:.3f}",
            "" if forced is None else f"{forced:.3f}",
            f"{found['meter']['questions']['paid_again_after_an_answer']:,}",
            " / ".join(f"{kill['seconds_lost']:.0f}" for kill in found["kills"]),
        ]

    names = (
        "mentions",
        "faults, of requests or batches",
        "SIGKILLs",
        "spent when a cap that binds had stopped the stage, by the server's own meter",
        "that cap or the later one was ever passed, by that meter",
        "labelled / set aside with a reason",
        "labelled twice / lost",
        "paid calls ÷ calls of a clean pass",
        "… ÷ the calls that these faults force",
        "paid again after a readable answer had gone out",
        "seconds until 50 more answers after each kill",
    )
    return [list(row) for row in zip(names, told(sync), told(batch), strict=True)]


if __name__ == "__main__":
    raise SystemExit(main())
