"""What a submitted job is: the command, and the copy of a folder that it gets, without what is not for a cluster's object store."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

from ray._private import ray_constants
from ray._private.runtime_env import packaging

from rpdr.config import Config, MentionsConfig
from rpdr.errors import ConfigError
from rpdr.run import check_corpus, refuse_secrets
from rpdr.run.sources import filled_in, places_of
from rpdr.show import memory

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
        read = [place for _, source in self.config.sources for place in places_of(source)]
        found = []
        for place in filter(os.path.isabs, map(filled_in, [*written, *read])):
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
