"""Jobs on a real Ray cluster of one node, with its token: submitted, followed past a broken connection, stopped; and what is refused before."""

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
from typing import Any
from zipfile import ZipFile

import pytest
from local_cluster import LocalCluster, local_cluster
from ray._private.runtime_env.packaging import create_package
from ray.exceptions import RpcError
from ray.job_submission import JobDetails, JobStatus
from rich.console import Console

from rpdr.config import load
from rpdr.errors import ConfigError, RunError
from rpdr.pipeline.on_ray import submit as module
from rpdr.pipeline.on_ray.submit import Submission, follow, jobs_table, reach

CONFIG = """run_dir: {run_dir}
kb: {{format: table, path: kb.csv}}
mentions:
  - {{format: table, path: mentions.csv, split: test}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's: a config, a knowledge base, mentions, and what is nobody's business."""
    place = tmp_path / "mine"
    place.mkdir()
    (place / "c.yaml").write_text(CONFIG.format(run_dir=tmp_path / "run"))
    (place / "kb.csv").write_text("concept_id,name,synonyms\nC1,Vomiting,emesis|throwing up\nC2,Nausea,\n")
    (place / "mentions.csv").write_text("text,gold\nthrowing up,C1\n")
    (place / ".env").write_text("OPENAI_API_KEY=sk-mine\n")
    return place


def submission(folder: Path, command: str = "prepare", **more: object) -> Submission:
    config = load(folder / "c.yaml")
    return Submission(command, folder / "c.yaml", config, folder=folder, **more)


def test_the_command_names_the_config_as_the_copy_has_it(folder: Path):
    what = submission(folder, overrides=("seed=1 2",))
    assert what.entrypoint == "python -m rpdr.cli prepare --config c.yaml --set 'seed=1 2'"
    assert ".env" in what.runtime_env["excludes"]
    (folder / "c.yaml").write_text(CONFIG.format(run_dir="/shared/run") + "corpora: {notes: {format: table, path: notes.csv}}\n")
    assert submission(folder, "link", corpus="notes", redo=True).entrypoint.endswith(" link --config c.yaml --corpus notes --redo")


def test_neither_the_run_nor_a_source_by_its_whole_path_nor_a_key_goes_with_the_copy(folder: Path):
    for name in (
        "out/mine/corpus/m.parquet",
        "deep/notes/a.txt",
        "deep/notes.csv",
        ".ssh/id",
        "id_ed25519",
        ".config/gcloud/x",
        "id_map.csv",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    told = CONFIG.format(run_dir=folder / "out" / "mine") + f"corpora: {{notes: {{format: table, path: {folder}/deep/*.csv}}}}\n"
    (folder / "c.yaml").write_text(told.replace("path: kb.csv", f"path: {folder / 'kb.csv'}"))
    what = submission(folder)
    assert set(what.packed) == {"c.yaml", "mentions.csv", "deep/notes/a.txt", "id_map.csv"}
    package = folder.parent / "package.zip"
    create_package(str(folder), package, include_gitignore=True, excludes=what.runtime_env["excludes"])
    assert set(ZipFile(package).namelist()) == set(what.packed)


def test_a_folder_that_no_cluster_takes_is_refused_before_it_is_packed(folder: Path):
    (folder / "data").mkdir()
    for name, mib in (("model.bin", 90), ("small.bin", 20)):
        with (folder / "data" / name).open("wb") as file:
            file.truncate(mib * 2**20)
    with pytest.raises(ConfigError, match=r"would be 110 MiB.* takes 100 MiB; .* data/model\.bin \(90 MiB\): move it .* \.rayignore"):
        submission(folder)
    (folder / ".rayignore").write_text("data/\n")
    assert "data/model.bin" not in submission(folder).packed


def test_that_text_goes_to_the_cluster_with_the_copy_is_told_where_the_policy_is_restricted(folder: Path):
    (note,) = submission(folder).notes
    assert note.startswith("data_policy: restricted: mentions.csv goes to the cluster")
    with (folder / "c.yaml").open("a") as file:
        file.write("data_policy: public\n")
    assert submission(folder).notes == []


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [
        ("calibrate", {"redo": True}, "--redo: calibrate measures anew"),
        ("teach", {"corpus": "notes"}, "--corpus: teach takes none"),
        ("link", {"corpus": "nots"}, r"corpora\.nots: the config has no such corpus \(there are: notes\)"),
        ("link", {"corpus": ""}, r"corpora\.'': the config has no such corpus"),
    ],
)
def test_what_the_command_there_would_refuse_is_refused_here(folder: Path, command: str, options: dict[str, Any], says: str):
    (folder / "c.yaml").write_text(CONFIG.format(run_dir="/shared/run") + "corpora: {notes: {format: table, path: notes.csv}}\n")
    with pytest.raises(ConfigError, match=says):
        submission(folder, command, **options)


def test_a_secret_in_a_url_is_not_passed_with_a_job(folder: Path):
    output = "s3://b/x?secret_key=hush"
    config = load(folder / "c.yaml", {"link.output": output})
    with pytest.raises(ConfigError, match=r"link\.output: s3://b/x: has a secret in it") as refused:
        Submission("link", folder / "c.yaml", config, (f"link.output={output}",), folder=folder)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        *("OPENAI_API_KEY", "MY_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "PGPASS", "AZURE_STORAGE_CONNECTION_STRING"),
        *("NPM_AUTH", "Proxy_Authorization"),
    ],
)
def test_a_secret_is_not_passed_with_a_job(folder: Path, name: str):
    with pytest.raises(ConfigError, match=f"--env {name}: a secret would stand in the job's record") as refused:
        submission(folder, environment=(f"{name}=sk-123456",))
    assert "sk-123456" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://me:hush@proxy:3128", "https://hush@host/simple", "postgres://me:hush@db/x", "git+https://${ME}:hush@host/x.git@v1"]
)
def test_neither_is_one_in_the_url_of_a_variable_or_of_a_requirement(folder: Path, url: str):
    with pytest.raises(ConfigError, match=r"--env WAY: the user or password of its URL would stand in the job's record") as refused:
        submission(folder, environment=(f"WAY={url}",))
    assert "hush" not in str(refused.value)
    (folder / "more.txt").write_text(f"numpy\n--extra-index-url {url}\n")
    with pytest.raises(ConfigError, match=r"more\.txt: in line 2 the user or password of a URL would stand in the job's record") as refused:
        submission(folder, pip=folder / "more.txt")
    assert "hush" not in str(refused.value)


def test_what_is_no_secret_is_passed(folder: Path):
    lines = ("git+ssh://git@host/x.git@v1", "x @ https://host/a@b.whl", "--index-url https://${USER}:${TOKEN}@host/simple", "y>=1")
    (folder / "more.txt").write_text("\n".join(lines))
    given = ("RAY_AUTH_MODE=token", "RPDR_DATA=/shared/data", "HTTPS_PROXY=http://proxy:3128", "MAIL=me@host")
    assert len(submission(folder, environment=given, pip=folder / "more.txt").runtime_env["env_vars"]) == 4


def test_the_teachers_key_is_a_secret_by_whatever_name(folder: Path):
    (folder / "c.yaml").write_text(CONFIG.format(run_dir="/shared/run") + "teacher: {api_key_env: HOUSE}\n")
    with pytest.raises(ConfigError, match="--env HOUSE: a secret"):
        submission(folder, environment=("HOUSE=sk-1",))


def test_a_run_directory_that_would_end_with_the_job_is_refused(folder: Path):
    (folder / "c.yaml").write_text(CONFIG.format(run_dir="runs/mine"))
    with pytest.raises(ConfigError, match=r"run_dir: runs/mine is relative.*--set run_dir=/shared/runs/mine"):
        submission(folder)


def test_so_is_a_place_for_shards_that_would(folder: Path):
    (folder / "c.yaml").write_text(CONFIG.format(run_dir="/shared/run") + "link: {output: linked}\n")
    with pytest.raises(ConfigError, match=r"link\.output: linked is relative"):
        submission(folder)


def test_a_config_that_the_copy_leaves_out_is_refused(folder: Path):
    (folder / "runs" / "mine").mkdir(parents=True)
    (folder / "runs" / "mine" / "config.yaml").write_text(CONFIG.format(run_dir="/shared/run"))
    with pytest.raises(ConfigError, match=r"config.yaml: in runs/, which the job's copy"):
        Submission("prepare", folder / "runs" / "mine" / "config.yaml", load(folder / "c.yaml"), folder=folder)


@pytest.mark.parametrize(("ignoring", "ignored"), [(".gitignore", "c.yaml"), (".rayignore", "*.yaml"), (".gitignore", "c.*")])
def test_neither_is_one_taken_that_is_ignored_there(folder: Path, ignoring: str, ignored: str):
    (folder / ignoring).write_text(ignored + "\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: the job's copy of .* leaves it out, by a \.gitignore"):
        submission(folder)


def test_a_run_dir_with_a_variable_of_another_form_is_refused(folder: Path):
    (folder / "c.yaml").write_text(CONFIG.format(run_dir="$HOME/run"))
    with pytest.raises(ConfigError, match=r"run_dir: \$HOME/run is relative"):
        submission(folder)


def test_a_config_outside_the_folder_is_refused(folder: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match=r"c.yaml: not in .*other.*--working-dir"):
        Submission("prepare", folder / "c.yaml", load(folder / "c.yaml"), folder=tmp_path / "other")


def test_requirements_that_are_not_there_are_refused(folder: Path):
    with pytest.raises(ConfigError, match=r"--pip typo\.txt: no such file"):
        submission(folder, pip=Path("typo.txt"))


def test_where_no_cluster_answers_the_error_names_the_remedy():
    with socket.socket() as held:  # so that no other process gets the port
        held.bind(("127.0.0.1", 0))
        with pytest.raises(RunError, match=r"no Ray cluster answers there.*--address"):
            reach(f"http://127.0.0.1:{held.getsockname()[1]}")


def test_an_address_without_a_scheme_is_a_dashboards_too():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(RunError, match=rf"no Ray cluster answers there .*http://{address}.*--address"):
            reach(address)


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
