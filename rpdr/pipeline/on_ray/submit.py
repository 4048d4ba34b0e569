"""Submit a stage, or a whole run, to a Ray cluster as a job; follow it, list what is there, stop it.

The job outlives this process and its connection: the log is followed from where it broke off, and `follow` takes it up at any time. Secrets
stay where they are: the cluster's nodes have the teacher's key in their environment, and no job's record holds it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import requests
from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Column, Table

import rpdr
from rpdr.errors import RunError
from rpdr.pipeline.on_ray.submission import Submission
from rpdr.show import in_one_line

A_STAGE_AT_WORK = re.compile(r"(?:\[\d+/\d+\] )?[\w-]+: .+ [\d,]+ of [\d,]+")  # as progress.py tells it where there is no terminal
PATIENCE_S, PAUSE_S = 600.0, 2.0  # how long a cluster that does not answer is waited for while following
STOPPED = 130
for told_of in ("dashboard.modules.job.sdk", "dashboard.modules.dashboard_sdk", "_private.runtime_env.packaging"):
    logging.getLogger(f"ray.{told_of}").setLevel(logging.WARNING)  # of every package and web socket
logging.getLogger("ray._private.runtime_env.working_dir").setLevel(logging.ERROR)  # that .git and .venv stay here, as LEFT_OUT has it


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
