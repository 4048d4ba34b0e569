"""`rpdr submit`, `jobs`, `follow` and `stop`: the same stages on a Ray cluster, as jobs that outlive this terminal."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rpdr.config import Config

ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # by which Ray's own client goes before any argument


def take_config(command: argparse.ArgumentParser, which: str = "a YAML file; see jobs/configs/") -> None:
    """The arguments by which a command finds a run's config."""
    command.add_argument("--config", required=True, help=which)
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one config value, e.g. --set student.epochs=1"
    )


def add_commands(commands: Any, stages: dict[str, str], read_config: Callable[[argparse.Namespace], Config]) -> None:
    """To the parser of `rpdr`; `stages` are what can be submitted, each with what it does."""
    text = "run a stage, or run_all, on a Ray cluster: packs this folder, follows the job's log, and ends with its exit code"
    command = commands.add_parser("submit", help=text, description=text)
    command.add_argument("stage", choices=list(stages))
    take_config(command, "a YAML file in the folder that is packed")
    command.add_argument("--redo", action="store_true", help="as of the stage's own command")
    command.add_argument("--corpus", metavar="NAME", help="of link: link this one of the config's `corpora`")
    command.add_argument(
        "--working-dir", type=Path, default=Path(), metavar="DIR", help="what the job gets a copy of; default: this folder"
    )
    command.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable of the job, e.g. RPDR_DATA; no secrets: nodes have them",
    )
    command.add_argument("--pip", type=Path, metavar="FILE", help="requirements that the nodes install first, where their image lacks some")
    command.add_argument("--detach", action="store_true", help="do not follow it; print its id and end")
    command.set_defaults(run=lambda options: _submit(options, read_config(options)))
    for name, text, run in (
        ("follow", "show a job's log from its beginning, until it ends; ends with its exit code", _follow),
        ("stop", "end a job; what it has finished stays, and it can be submitted again", _stop),
        ("jobs", "rpdr's jobs on the cluster", _jobs),
    ):
        other = commands.add_parser(name, help=text, description=text)
        if name != "jobs":
            other.add_argument("job", help="its id, as `rpdr submit` and `rpdr jobs` print it")
        _take_address(other)
        other.set_defaults(run=run)
    _take_address(command)


def _take_address(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--address",
        metavar="URL",
        help="of the cluster's dashboard, e.g. http://127.0.0.1:8265; default: RAY_API_SERVER_ADDRESS, or the dashboard of the head that RAY_ADDRESS names",
    )


def _reach(options: argparse.Namespace) -> Any:
    from rpdr.pipeline.on_ray.submit import reach

    if options.address:
        for name in ADDRESSES:  # what is asked for here wins
            os.environ.pop(name, None)
    return reach(options.address)


def _submit(options: argparse.Namespace, config: Config) -> int:
    from rpdr.pipeline.on_ray.submission import Submission
    from rpdr.pipeline.on_ray.submit import console, submit
    from rpdr.pipeline.progress import say

    asked = options.stage, Path(options.config), config, tuple(options.set), options.corpus, options.redo
    what = Submission(*asked, options.working_dir, tuple(options.env), options.pip)
    client = _reach(options)
    say(what.notes)
    job = submit(client, what)
    console().print(f"Submitted: {job}", highlight=False, soft_wrap=True)
    return 0 if options.detach else _followed(client, job)


def _follow(options: argparse.Namespace) -> int:
    return _followed(_reach(options), options.job)


def _followed(client: Any, job: str) -> int:
    from rpdr.pipeline.on_ray.submit import console, follow

    try:
        return follow(client, job, console())
    except KeyboardInterrupt:
        console().print(f"The job goes on. rpdr follow {job}, or rpdr stop {job}", highlight=False, soft_wrap=True)
        return 130


def _stop(options: argparse.Namespace) -> int:
    from rpdr.pipeline.on_ray.submit import console, stop

    stopped = stop(_reach(options), options.job)
    console().print(f"{options.job}: {'is being stopped' if stopped else 'had ended before'}", highlight=False, soft_wrap=True)
    return 0


def _jobs(options: argparse.Namespace) -> int:
    from rpdr.pipeline.on_ray.submit import console, jobs_table

    console().print(jobs_table(_reach(options)))
    return 0
