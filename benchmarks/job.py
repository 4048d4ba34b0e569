"""A job in a process of its own, how to kill it or a part of it, and many side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

MARK = "RPDR_BENCHMARK"  # an environment variable by which the processes of a job are known


class Job:
    """Python with these arguments, and Ray's processes that it starts."""

    def __init__(self, arguments: Sequence[str], log: Path, **environment: str) -> None:
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=log.open("ab"),
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, MARK: self.mark},
            start_new_session=True,
        )

    def processes(self, words: str = "") -> list[psutil.Process]:
        """Its processes, Ray's among them, whose command line holds `words`."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and words in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill(self, what: str) -> bool:
        """SIGKILL its "driver", or an actor of this class; whether there was one."""
        if what == "driver":
            self.process.kill()
            self.process.wait()
            self.sweep()
            return True
        found = self.processes(f"ray::{what}") or self.processes(what)
        found = [process for process in found if process.pid != self.process.pid and "ray::" in " ".join(process.cmdline())]
        if found:
            found[0].kill()
        return bool(found)

    def kill_process(self, words: str) -> bool:
        """SIGKILL those of its processes whose command line holds these words; whether there was one."""
        found = self.processes(words)
        for process in found:
            process.kill()
        return bool(found)

    def sweep(self) -> None:
        """End what a killed driver left: Ray's processes notice its death, but not at once."""
        for process in self.processes():
            try:
                process.kill()
            except psutil.Error:
                continue


def side_by_side(jobs: Iterable[tuple[str, Sequence[str]]], at_once: int, logs: Path) -> list[str]:
    """Run (name, arguments of Python) so many at a time, each a share of the cores and all GPUs; the names of those that failed, whose logs tell."""
    share = max(1, (os.cpu_count() or 1) // at_once)
    shared = {"OMP_NUM_THREADS": str(share), "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": share})}
    logs.mkdir(parents=True, exist_ok=True)
    waiting, running, failed = deque(jobs), dict[str, Job](), list[str]()
    while waiting or running:
        while waiting and len(running) < at_once:
            name, arguments = waiting.popleft()
            running[name] = Job(arguments, logs / f"{name}.log", **shared)
        time.sleep(0.5)
        ended = [name for name, job in running.items() if job.process.poll() is not None]
        failed += [name for name in ended if running.pop(name).process.returncode]
    return failed
