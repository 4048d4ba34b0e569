"""Jobs on a real Ray cluster of one node, with its token: submitted, followed past a broken connection, stopped."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from local_cluster import LocalCluster, local_cluster
from ray.exceptions import RpcError
from ray.job_submission import JobDetails, JobStatus
from rich.console import Console

from rpdr.errors import RunError
from rpdr.pipeline.on_ray import submit as module
from rpdr.pipeline.on_ray.submit import follow, jobs_table, reach


def test_where_no_cluster_answers_the_error_names_the_remedy(silent: str):
    with pytest.raises(RunError, match=r"no Ray cluster answers there.*--address"):
        reach(f"http://{silent}")


def test_an_address_without_a_scheme_is_a_dashboards_too(silent: str):
    with pytest.raises(RunError, match=rf"no Ray cluster answers there .*http://{silent}.*--address"):
        reach(silent)


def test_what_is_no_address_is_said_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(RunError, match=r"no Ray cluster answers there .*nonsense.*--address"):
        reach(None)


def test_a_head_that_is_gone_is_said_so(monkeypatch: pytest.MonkeyPatch):
    def of_a_head(_: object) -> None:
        raise RpcError("Timed out while waiting for GCS to become available.")  # after 40 s

    monkeypatch.setattr(module, "JobSubmissionClient", of_a_head)
    with pytest.raises(RunError, match=r"no Ray cluster answers there \(Timed out"):
        reach(None)


def test_a_run_directory_with_brackets_is_listed_whole():
    class Jobs:
        def list_jobs(self) -> list[JobDetails]:
            told = {"rpdr": "1", "run_dir": "/runs/x[/y]"}
            return [JobDetails(type="SUBMISSION", submission_id="one", status=JobStatus.RUNNING, entrypoint="", metadata=told)]

    shown = Console(file=StringIO(), width=200)
    shown.print(jobs_table(Jobs()))
    assert "/runs/x[/y]" in shown.file.getvalue()


@pytest.mark.parametrize(("later", "says"), [([], "has begun anew .* submit it again"), (["mine"], "does not answer")])
def test_a_job_that_a_new_head_does_not_know_is_not_waited_for(later: list[str], says: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PATIENCE_S", -1.0)
    lists = [["mine"], later]

    class Head:
        def list_jobs(self) -> list[JobDetails]:
            return [JobDetails(type="SUBMISSION", submission_id=job, status=JobStatus.RUNNING, entrypoint="") for job in lists.pop(0)]

        async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
            for text in ():
                yield text

        def get_job_info(self, job: str) -> JobDetails:
            raise RuntimeError(f"Request failed with status code 404: Job {job} does not exist.")

    with pytest.raises(RunError, match=rf"mine: the cluster.* {says}"):
        follow(Head(), "mine", Console(file=StringIO()))


@dataclass(frozen=True)
class Cluster:
    """A head that wants a token, and `rpdr …` in a process that has it."""

    head: LocalCluster

    def rpdr(self, *arguments: str, at: str = "", folder: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rpdr.cli", *arguments, "--address", at or self.head.dashboard]
        environment = {**self.head.environment, **more}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180)

    def start(self, entrypoint: str) -> str:
        """Any job at all; its id, once it runs."""
        job = self.head.ask("POST", "jobs/", json={"entrypoint": entrypoint})["submission_id"]
        while self.head.ask("GET", f"jobs/{job}")["status"] == "PENDING":
            time.sleep(0.2)
        return job


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with local_cluster({}) as head:
        yield Cluster(head)


@pytest.mark.slow
def test_a_stage_runs_there_and_can_be_followed_again(cluster: Cluster, folder: Path, tmp_path: Path):
    done = cluster.rpdr("submit", "prepare", "--config", "c.yaml", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    first, *log = done.stdout.splitlines()
    job = first.removeprefix("Submitted: ")
    assert "2 concepts, 4 names; 1 mentions" in done.stdout
    assert done.stderr.startswith("note: data_policy: restricted: mentions.csv goes")
    assert (tmp_path / "run" / "kb" / "concepts.parquet").exists()
    again = cluster.rpdr("follow", job)
    assert (again.returncode, again.stdout.splitlines()) == (0, log)
    assert "sk-mine" not in str(cluster.head.ask("GET", "jobs/"))
    listed = cluster.rpdr("jobs", COLUMNS="80").stdout
    assert job in listed
    assert "succeeded" in listed


@pytest.mark.slow
def test_what_a_user_can_mend_has_the_commands_own_exit_code(cluster: Cluster, folder: Path):
    (folder / "kb.csv").unlink()
    detached = cluster.rpdr("submit", "prepare", "--config", "c.yaml", "--detach", folder=folder)
    assert detached.returncode == 0
    done = cluster.rpdr("follow", detached.stdout.removeprefix("Submitted: ").strip())
    assert done.returncode == 2
    assert "kb.csv: no such file" in done.stdout


@pytest.mark.slow
def test_a_broken_connection_stops_nothing_and_following_goes_on(cluster: Cluster, tmp_path: Path):
    broken = tmp_path / "broken"
    print_lines = "for n in $(seq {} {}); do echo line $n; done"
    job = cluster.start(f"{print_lines.format(1, 30)}; until [ -e {broken} ]; do sleep 0.1; done; {print_lines.format(31, 60)}")
    with Relay(int(cluster.head.dashboard.rsplit(":", 1)[1]), b"line 30", broken.touch) as relay:
        done = cluster.rpdr("follow", job, at=f"http://127.0.0.1:{relay.port}")
    assert broken.exists()
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("line")] == [f"line {n}" for n in range(1, 61)]


@pytest.mark.slow
def test_a_job_is_stopped(cluster: Cluster):
    job = cluster.start("sleep 600")
    assert "is being stopped" in cluster.rpdr("stop", job).stdout
    done = cluster.rpdr("follow", job)
    assert done.returncode == 130
    assert "submit it again to go on" in done.stdout
    assert "had ended before" in cluster.rpdr("stop", job).stdout


@pytest.mark.slow
def test_without_the_token_the_error_names_the_remedy(cluster: Cluster):
    done = cluster.rpdr("jobs", RAY_AUTH_MODE="disabled")
    assert done.returncode == 2
    assert "the cluster wants its token: set RAY_AUTH_MODE=token" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", ["follow", "stop"])
def test_a_job_that_is_not_there_is_said_so(cluster: Cluster, command: str):
    done = cluster.rpdr(command, "no-such")
    assert done.returncode == 2
    assert "no-such: there is no such job" in done.stderr


class Relay:
    """A way to the cluster that breaks off once it has carried `word`, tells `then`, and works again at once."""

    def __init__(self, to: int, word: bytes, then: Callable[[], object]) -> None:
        self.to, self.word, self.then, self._broken = to, word, then, False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _break_off(self) -> None:
        """Cut every connection there is."""
        self._broken = True
        for one in self._open:
            with suppress(OSError):  # it has ended by itself
                one.shutdown(socket.SHUT_RDWR)
        self.then()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.to))
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        carried = b""
        try:
            while data := one.recv(65536):
                other.sendall(data)
                carried += data
                if not self._broken and self.word in carried:
                    self._break_off()
        except OSError:
            pass
        for end in (one, other):
            self._open = [left for left in self._open if left is not end]
            end.close()
