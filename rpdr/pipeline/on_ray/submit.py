"""Submit a stage, or a whole run, to a Ray cluster as a job; follow it, list what is there, stop it.

The job outlives this process and its connection: the log is followed from where it broke off, and `follow` takes it up at any time. Secrets
stay where they are: the cluster's nodes have the teacher's key in their environment, and no job's record holds it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

import aiohttp
import requests
from ray._private import ray_constants
from ray._private.runtime_env import packaging
from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Column, Table

import rpdr
from rpdr.config import Config, MentionsConfig
from rpdr.errors import ConfigError, RunError
from rpdr.run import check_corpus, refuse_secrets
from rpdr.run.sources import places_of
from rpdr.show import in_one_line, memory

# beside what .gitignore names; patterns as in one. What looks like a secret is not for a cluster's object store
LEFT_OUT = (
    *(".git/", ".venv/", "runs/", "__pycache__/", "*.egg-info/", ".env", ".env.*", "*.pem", "*.key", ".netrc", ".git-credentials"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".ssh/", ".aws/", ".azure/", "**/.config/gcloud/", ".kube/", ".ray/"),
)
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|CONNECTION_STRING|AUTH(?!_MODE)", re.IGNORECASE)
BEFORE_A_HOST = re.compile(r"://([^/\s]*)@")  # of a URL
TO_THE_NODES = (
    "would stand in the job's record, which all who reach the cluster can read; give it to the cluster's nodes (cluster/README.md says how)"
)
A_STAGE_AT_WORK = re.compile(r"(?:\[\d+/\d+\] )?[\w-]+: .+ [\d,]+ of [\d,]+")  # as progress.py tells it where there is no terminal
PATIENCE_S, PAUSE_S = 600.0, 2.0  # how long a cluster that does not answer is waited for while following
STOPPED = 130
for told_of in ("dashboard.modules.job.sdk", "dashboard.modules.dashboard_sdk", "_private.runtime_env.packaging"):
    logging.getLogger(f"ray.{told_of}").setLevel(logging.WARNING)  # of every package and web socket
logging.getLogger("ray._private.runtime_env.working_dir").setLevel(logging.ERROR)  # that .git and .venv stay here, as LEFT_OUT has it


@dataclass(frozen=True)
class Submission:
    """What is to be run: `rpdr COMMAND` with these options, in a copy of `folder`. Raises ConfigError for what would fail, or be lost, on a cluster."""

    command: str
    config_path: Path
    config: Config
    overrides: tuple[str, ...] = ()  # KEY=VALUE
    corpus: str | None = None
    redo: bool = False
    folder: Path = Path()
    environment: tuple[str, ...] = ()  # NAME=VALUE
    pip: Path | None = None  # requirements that the nodes install first

    @property
    def entrypoint(self) -> str:
        """The shell command on the cluster."""
        options = [part for text in self.overrides for part in ("--set", text)]
        options += ["--corpus", self.corpus] if self.corpus is not None else []
        options += ["--redo"] if self.redo else []
        return shlex.join(["python", "-m", "rpdr.cli", self.command, "--config", self._inside(self.config_path), *options])

    @property
    def runtime_env(self) -> dict[str, Any]:
        """Ray's: the working tree, the environment's variables, and what pip adds."""
        packages = {"pip": str(self.pip)} if self.pip else {}
        return {"working_dir": str(self.folder), "excludes": self._left_out, "env_vars": self._variables(), **packages}

    @cached_property
    def packed(self) -> dict[str, int]:
        """What the job gets a copy of, as Ray itself will choose it: the file's path in the folder -> bytes."""
        folder, found = self.folder.absolute(), {}

        def note(path: Path) -> None:
            if path.is_file():
                found[str(path.relative_to(folder))] = path.stat().st_size

        left_out = packaging._get_excludes(folder, [*ray_constants.get_runtime_env_default_excludes(), *self._left_out])
        ignored = os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
        packaging._dir_travel(folder, [left_out], note, include_gitignore=ignored)
        return found

    @property
    def notes(self) -> list[str]:
        """A line for each source of texts that leaves this machine with the copy, where the config keeps texts on it."""
        if self.config.data_policy != "restricted":
            return []
        places = [os.path.normpath(source.path) for _, source in self.config.sources if isinstance(source, MentionsConfig) and source.path]
        return [
            f"data_policy: restricted: {place} goes to the cluster, in the job's copy of this folder; in the folder that all nodes share, and with "
            "its whole path in the config, it stays there"
            for place in places
            if any(fnmatch(file, place) or file.startswith(f"{place}/") for file in self.packed)
        ]

    @cached_property
    def _left_out(self) -> list[str]:
        """LEFT_OUT, and what lies in the folder but is not read from the copy: what the run writes, and sources by their whole path."""
        written = [self.config.run_dir, self.config.link.output or ""]
        places = [os.path.expanduser(os.path.expandvars(place)) for place in written]
        places += [os.path.expanduser(os.path.expandvars(place)) for _, source in self.config.sources for place in places_of(source)]
        found = []
        for place in filter(os.path.isabs, places):
            for folder, path in ((self.folder.absolute(), Path(place)), (self.folder.resolve(), Path(place).resolve())):
                if path.is_relative_to(folder) and path != folder:
                    found.append(f"/{path.relative_to(folder)}")
        return [*LEFT_OUT, *dict.fromkeys(found)]

    def __post_init__(self) -> None:
        if self.pip and not self.pip.is_file():
            raise ConfigError(f"--pip {self.pip}: no such file; name a requirements file")
        for number, line in enumerate(self.pip.read_text(errors="replace").splitlines() if self.pip else (), start=1):
            if _has_password(line):
                raise ConfigError(f"--pip {self.pip}: in line {number} the user or password of a URL {TO_THE_NODES}")
        self._inside(self.config_path)
        self._check_size()
        self._variables()
        self._check_options()
        refuse_secrets(self.config, ConfigError)  # the job's record has the options, which all who reach the cluster can read
        where, output = self.config.run_dir, self.config.link.output
        if _is_relative(where):
            raise ConfigError(
                f"run_dir: {where} is relative: on the cluster, a folder of its head alone; name one that all nodes share, "
                f"e.g. --set run_dir=/shared/{where}"
            )
        if output is not None and _is_relative(output):
            raise ConfigError(
                f"link.output: {output} is relative: on the cluster, a folder of its head alone; name one that all nodes share"
            )

    def _check_size(self) -> None:
        """Before it is packed, which keeps all sizes."""
        most, total = ray_constants.DASHBOARD_CLIENT_MAX_SIZE, sum(self.packed.values())
        if total >= most:
            largest = max(self.packed, key=self.packed.__getitem__)
            raise ConfigError(
                f"{self.folder.resolve()}: the job's copy of it would be {memory(total / 2**20)}, and a cluster takes {memory(most / 2**20)}; the largest "
                f"file is {largest} ({memory(self.packed[largest] / 2**20)}): move it to the folder that all nodes share, or name it in .rayignore"
            )

    def _check_options(self) -> None:
        if self.redo and self.command == "calibrate":
            raise ConfigError("--redo: calibrate measures anew each time; leave it out")
        if self.corpus is not None:
            if self.command != "link":
                raise ConfigError(f"--corpus: {self.command} takes none; a further corpus is for link alone")
            check_corpus(self.config, self.corpus)

    def _inside(self, path: Path) -> str:
        folder = self.folder.resolve()
        if not path.resolve().is_relative_to(folder):
            raise ConfigError(f"{path}: not in {folder}, which is what the job gets a copy of; name its folder with --working-dir")
        inside = path.resolve().relative_to(folder)
        if left_out := [part for part in inside.parts[:-1] if f"{part}/" in LEFT_OUT]:
            raise ConfigError(f"{path}: in {left_out[0]}/, which the job's copy of {folder} leaves out; copy it out of there")
        if str(inside) not in self.packed:
            raise ConfigError(
                f"{path}: the job's copy of {folder} leaves it out, by a .gitignore or .rayignore, or as run_dir or a source is there; copy it to a place "
                "that is not left out"
            )
        return str(inside)

    def _variables(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for given in self.environment:
            name, equals, value = given.partition("=")
            if not equals or not name:
                raise ConfigError(f"--env {name}: expected NAME=VALUE, e.g. --env RPDR_DATA=/shared/data")
            if name == self.config.teacher.api_key_env or SECRET.search(name):
                raise ConfigError(f"--env {name}: a secret {TO_THE_NODES}")
            if _has_password(value):
                raise ConfigError(f"--env {name}: the user or password of its URL {TO_THE_NODES}")
            found[name] = value
        return found


def _has_password(text: str) -> bool:
    """Whether a URL in it has what may be a secret before its host: neither ${VARIABLE}, which is filled in there, nor the user of git's own URLs is."""
    for before in BEFORE_A_HOST.findall(text):
        user, colon, password = re.sub(r"\$\{\w+\}", "", before).partition(":")
        if password or (user not in ("", "git") and not colon):
            return True
    return False


def _is_relative(where: str) -> bool:
    """Whether a job would find it in its own copy of the folder alone."""
    return not (where.startswith(("/", "${", "~")) or "://" in where)


def submit(client: JobSubmissionClient, what: Submission) -> str:
    """Start it; returns the job's id. Raises RunError if the cluster refuses."""
    name = re.sub(r"[^\w.-]+", "-", Path(what.config.run_dir).name)
    known_as = f"rpdr-{what.command}-{name}-{datetime.now():%m%d-%H%M%S}"
    told = {"rpdr": rpdr.__version__, "command": what.command, "config": what.config_path.name, "run_dir": what.config.run_dir}
    return _asked(
        lambda: client.submit_job(entrypoint=what.entrypoint, runtime_env=what.runtime_env, submission_id=known_as, metadata=told)
    )


def reach(address: str | None) -> JobSubmissionClient:
    """The cluster's job server, by its dashboard's address. Raises RunError: no answer, or no token."""
    if address and address != "auto" and "://" not in address:  # which Ray would take for a head's, whose port is another
        address = f"http://{address}"
    try:
        return _asked(lambda: JobSubmissionClient(address))
    except ValueError as error:  # of an address
        raise _no_answer(error) from error


def follow(client: JobSubmissionClient, job: str, console: Console) -> int:
    """Show the job's log from its beginning, until it ends; its exit code (130 if it was stopped). The connection may break meanwhile. Raises
    RunError if there is no such job, or no longer, or the cluster does not answer for PATIENCE_S."""
    _check_known(client, job)
    with console.status("waiting for the job") as status:
        log = _Log(console, status)
        failing, known = None, 0  # since when, and how much of the log there was then
        while True:
            try:
                asyncio.run(_tail(client, job, log))
                found = client.get_job_info(job)
                if found.status.is_terminal():
                    log.catch_up(client.get_job_logs(job))
                    return _exit_code(found, console)
                failing = None
            except (RuntimeError, OSError, requests.RequestException, aiohttp.ClientError) as error:  # RuntimeError: Ray's own
                if _is_gone(client, job):
                    raise RunError(
                        f"{job}: the cluster's head has begun anew and knows no such job; submit it again to go on from where it was"
                    ) from error
                if failing is None or log.characters > known:
                    failing, known = time.monotonic(), log.characters
                if time.monotonic() - failing > PATIENCE_S:
                    raise RunError(f"{job}: the cluster does not answer ({in_one_line(error)}); it may go on: rpdr follow {job}") from error
                status.update("no connection; the job goes on without it. Trying again")
            time.sleep(PAUSE_S)


def stop(client: JobSubmissionClient, job: str) -> bool:
    """Ask it to end, which loses no result; False if it had ended before. Raises RunError if there is no such job."""
    _check_known(client, job)
    return _asked(lambda: client.stop_job(job))


def _check_known(client: JobSubmissionClient, job: str) -> None:
    if job not in {found.submission_id for found in _asked(client.list_jobs)}:
        raise RunError(f"{job}: there is no such job; `rpdr jobs` lists them")


def _is_gone(client: JobSubmissionClient, job: str) -> bool:
    """Whether the cluster answers, and knows no such job."""
    try:
        return job not in {found.submission_id for found in client.list_jobs()}
    except (RuntimeError, OSError, requests.RequestException):
        return False


def jobs_table(client: JobSubmissionClient) -> Table:
    """rpdr's jobs on the cluster, the newest last."""
    found: list[JobDetails] = [job for job in _asked(client.list_jobs) if "rpdr" in (job.metadata or {})]
    longest = max((len(job.submission_id or "") for job in found), default=0)  # `rpdr follow` wants it whole, on a narrow terminal too
    table = Table(Column("Job", min_width=longest, no_wrap=True), Column("Run directory", overflow="fold"), "State", "Began", "Took")
    for job in sorted(found, key=lambda job: job.start_time or 0):
        begun = datetime.fromtimestamp((job.start_time or 0) / 1000)
        ended = datetime.fromtimestamp(job.end_time / 1000) if job.end_time else datetime.now()
        state = job.status.lower() + (f" ({job.driver_exit_code})" if job.driver_exit_code else "")
        took = str(ended - begun).partition(".")[0]
        table.add_row(job.submission_id, escape(job.metadata["run_dir"]), state, f"{begun:%Y-%m-%d %H:%M}", took)
    return table


class _Log:
    """What was shown of a job's log. A stage at work has one line, which changes on a terminal; all else is printed."""

    def __init__(self, console: Console, status: Status) -> None:
        self.console, self.status, self.characters, self._rest = console, status, 0, ""

    def more(self, text: str) -> None:
        """The next piece of the log."""
        self.characters += len(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            line = line.rstrip("\r")
            if self.console.is_terminal and A_STAGE_AT_WORK.match(line):
                self.status.update(line)
            else:
                self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def catch_up(self, whole: str) -> None:
        """Show what of the whole log was not shown yet, to its end."""
        self.more(whole[self.characters :])
        if self._rest:
            self.more("\n")


async def _tail(client: JobSubmissionClient, job: str, log: _Log) -> None:
    """Show what comes, past what was shown before: the server tells a log from its beginning."""
    seen = 0
    async for text in client.tail_job_logs(job):
        new = text[max(0, log.characters - seen) :]
        seen += len(text)
        if new:
            log.more(new)


def _exit_code(job: JobDetails, console: Console) -> int:
    if job.status == JobStatus.SUCCEEDED:
        return 0
    if job.status == JobStatus.STOPPED:
        console.print("stopped; submit it again to go on from here", highlight=False)
        return STOPPED
    if job.driver_exit_code is None:  # it never began, or its node was lost
        console.print(f"error: {job.message}", markup=False, highlight=False, soft_wrap=True)
    return job.driver_exit_code or 1


def _asked(ask: Callable[[], Any]) -> Any:
    """What the cluster answers; its errors as ours, in one line."""
    try:
        return ask()
    except AuthenticationError as error:
        raise RunError(
            "the cluster wants its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to what its nodes were given"
        ) from error
    except (ConnectionError, requests.RequestException, RayError) as error:
        raise _no_answer(error) from error
    except RuntimeError as error:
        raise RunError(in_one_line(error)) from error


def _no_answer(error: Exception) -> RunError:
    return RunError(f"no Ray cluster answers there ({in_one_line(error)}); --address is its dashboard's, e.g. http://127.0.0.1:8265")


def console() -> Console:
    """The terminal's output stream, as a job's log is what was asked for."""
    return Console(file=sys.stdout)
