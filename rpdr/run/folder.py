"""A run directory: where each artefact is, which stages are finished, and what each was made from.

A stage's record holds the hash of its inputs (config sections, the stages before it) and the revision of the stage that
made it. Both as they are today: the stage is not run again. Else it refuses to mix old with new, unless told to redo. What an earlier rpdr has
made can still be read, and its student links on as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from rpdr.config import Config
from rpdr.errors import RunError
from rpdr.files import RELATIVE, expanded, home, sha256, sweep, write_text
from rpdr.run.lock import held
from rpdr.run.record import Record, other_now, read_record
from rpdr.run.secrets import refuse_secrets
from rpdr.run.sources import changed, paths_of
from rpdr.run.stages import STAGES, TUNABLE, Stage

ANOTHER_CORPUS = "give it a corpus of another name in the config"
CANDIDATES_FILE, LABELS_FILE, HIDDEN_FILE = "candidates.parquet", "labels.parquet", "hidden.parquet"
RETUNED = "retuned"  # the folder of the second round's retriever and index
WORK = "_work"  # in a folder of a stage: what it has laid out to work on; readers of Parquet folders pass over names with an underscore


class Run:
    """The state of one run, in `folder`."""

    def __init__(self, config: Config) -> None:
        self.config, self.folder = config, resolve_run_dir(config.run_dir)

    def path(self, *parts: str) -> Path:
        """A path inside the run directory."""
        return self.folder.joinpath(*parts)

    @property
    def mentions_file(self) -> Path:
        """Rows of schema.MENTIONS, of all splits."""
        return self.path("corpus", "mentions.parquet")

    @property
    def concepts_file(self) -> Path:
        """The knowledge base, which `load_kb` and `map_kb` read."""
        return self.path("kb", "concepts.parquet")

    @property
    def teacher_candidates(self) -> Path:
        """Rows of schema.CANDIDATES: what the teacher may choose from, and what test and dev mentions find before it has taught."""
        return self.path("candidates", CANDIDATES_FILE)

    @property
    def teacher_labels(self) -> Path:
        """Rows of schema.LABELS, as the teacher gave them; `labels.labels_file` has them as the student learns from them."""
        return self.path("labels", LABELS_FILE)

    @property
    def portable(self) -> Config:
        """The config as a process on another node is to have it, whose own folder is another: with the run directory that was found here."""
        return self.config.model_copy(update={"run_dir": str(self.folder)})

    def inputs(self, stage: Stage) -> str:
        """The hash of all that `stage` is made from. What is as it is by default does not count: a key that a later version has is no change."""
        return sha256(self._settings(stage, exclude_defaults=True), [self._id(name) for name in stage.after])

    def _settings(self, stage: Stage, exclude_defaults: bool = False) -> dict[str, Any]:
        """The sections, or single keys, that shape the stage."""
        tree = self.config.model_dump(mode="json", exclude_defaults=exclude_defaults)
        given = self.config.model_dump(mode="json", exclude_defaults=True) if stage.where_given else {}
        names = (*stage.sections, *(name for name in stage.where_given if _at(given, name) is not None))
        sections = {name: _without(_at(tree, name), TUNABLE.get(name, ())) for name in names}
        if stage.name == "link":
            sections["link"] = _without(sections["link"], ("output",))  # where further corpora go
        if stage.name == "teach" and not self.config.teacher.max_mentions:  # nobody is asked, which is not less of the same
            sections["teacher"] = {**(sections["teacher"] or {}), "max_mentions": 0}
        return sections

    def _made_from(self, stage: Stage) -> dict[str, Any]:
        """What `inputs` is the hash of, and what is so by default, to be told what is another."""
        return {"settings": self._settings(stage), "stages": {name: self._id(name) for name in stage.after}}

    def finished(self, stage: Stage, today: bool = True) -> bool:
        """Whether the stage is finished, from these inputs; `today`: from the files as they are today, too, and by this rpdr. Raises RunError if it,
        or a stage before it, was made from others or is missing."""
        self.require_before(stage, today)
        if stale := self.stale(stage, today):
            raise RunError(f"{stage.name}: {stale}; {_instead(stage)}")
        return self._id(stage.name) is not None and not self.would_get_further(stage)

    def stale(self, stage: Stage, today: bool = True) -> str | None:
        """Why what is there of the stage is not what it would make now, in words; None where it is, or nothing is there. `today`: as in `finished`."""
        record = self._record(stage.name)
        if record is None or self._nothing_made(stage):
            return None
        moved = self._changed(stage) if today else None
        if moved:
            return f"{moved} since {self.folder} read it"
        if (other := self._other(record, stage)) is not None:
            return f"{self.folder} holds results made from another config or other data{f' ({other})' if other else ''}"
        if today and record.revision < stage.revision:
            links_on = "" if stage.corpus else " (a finished student links on as it is: rpdr ask, rpdr link --corpus)"
            return f"{self.folder} holds results of an earlier rpdr, and this one may find others{links_on}"
        return None

    def _other(self, record: Record, stage: Stage) -> str | None:
        """What the stage was made from that is another now, in words, empty where it is not known; None where all is as it was."""
        same = record.inputs == self.inputs(stage)
        if not record.made_from:  # it is being thrown away
            return None if same else ""
        return other_now(record.made_from, self._made_from(stage), self._settings(stage, exclude_defaults=True), same)

    def _nothing_made(self, stage: Stage) -> bool:
        """Whether all that is there of the stage is that it was begun, as where its config was wrong."""
        record, elsewhere = self._record(stage.name), stage.corpus and self.config.link.output
        if record and (record.id or (elsewhere and not record.inputs)):  # being thrown away: some of it may still be in a store
            return False
        return not stage.resumes or not any(file.is_file() for name in stage.owns for file in self.path(name).rglob("*"))

    def require(self, name: str) -> None:
        """Raises RunError unless this stage is finished, and nothing that it is made from was made again since."""
        if not self.finished(STAGES[name], today=False):
            raise RunError(f"{self.folder}: {name} has not been run here; run it first: rpdr {name} --config …")

    def require_before(self, stage: Stage, today: bool = True) -> None:
        """Raises RunError unless the stages before this one are finished, from these inputs and, but for a further corpus, as of `today`: the
        student that links it is what it is."""
        for name in stage.after:
            # what would get further today may also stay as it is
            if not self.finished(STAGES[name], today and not stage.corpus) and self._id(name) is None:
                raise RunError(f"{stage.name}: {name} has not been run in {self.folder}; run it first: rpdr {name} --config …")

    def _changed(self, stage: Stage) -> str | None:
        """Which file that the finished stage had read is another now, in words."""
        before = self.summary(stage.name).get("sources")
        if before is None:
            return None
        return changed(before, [self.config.corpora[stage.corpus]] if stage.corpus else [self.config.kb, *self.config.mentions])

    def would_get_further(self, stage: Stage) -> bool:
        """Whether a limit of the config ended the finished stage (its summary's `ended_by`: key -> limit then) and is higher now."""
        tree = self.config.model_dump(mode="json")
        return any(_at(tree, key) > limit for key, limit in self.summary(stage.name).get("ended_by", {}).items())

    @contextmanager
    def alone(self, stage: Stage) -> Iterator[None]:
        """Hold the stage while in the block. Raises RunError where another job works on it: two would write the same files."""
        with held(self.path(".stages", f"{stage.name}.lock")) as ours:
            if not ours:
                raise RunError(f"{stage.name}: another job is at work on it in {self.folder}; wait for it (rpdr follow), or stop it")
            yield

    def begin(self, stage: Stage) -> None:
        """Note that the stage has begun, from these inputs: what a killed start leaves is only gone on with from the same."""
        refuse_secrets(self.config, RunError)
        self._refuse_others_files(stage)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not stage.corpus:  # what is linked later may be linked by other settings, and `rpdr ask` goes by the run's
                write_text(
                    self.path("config.yaml"), yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
                )
        except OSError as error:
            raise RunError(f"run_dir {self.folder}: cannot be written ({error.strerror}); name another run_dir") from error
        if not self._record(stage.name) or self._nothing_made(stage):
            self._keep(stage, Record(self.inputs(stage), stage.revision, self._made_from(stage)))
        for name in stage.owns:
            sweep(self.path(name))

    def reopen(self, stage: Stage) -> None:
        """Before what a finished stage had made is replaced by what a later start found: killed from here on, it was begun, and is gone on with."""
        self._keep(stage, Record(self.began(stage), stage.revision, self._made_from(stage)))

    def finish(self, stage: Stage, seconds: float, summary: dict[str, Any]) -> None:
        """Note that the stage is finished; `summary` is for the report. Raises RunError if it was begun from other inputs than there are now."""
        record, inputs = self._record(stage.name), self.inputs(stage)
        if record is None or self._other(record, stage) is not None:
            raise RunError(
                f"{stage.name}: a stage before it was made again in {self.folder} while it was at work, and its results are of both; add --redo to "
                "throw them away"
            )
        identity = sha256(inputs, summary.get("content", stage.revision))  # what is made from it is stale if that is another
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self._keep(
            stage,
            Record(inputs, stage.revision, self._made_from(stage), id=identity, finished_at=at, seconds=round(seconds, 2), summary=summary),
        )

    def forget(self, stage: Stage) -> None:
        """Throw away what the stage made (never the ledger: its answers were paid for). Raises RunError where sources of the run lie there."""
        self._refuse_others_files(stage)
        self.spoil(stage)
        for name in stage.owns:
            shutil.rmtree(self.path(name), ignore_errors=True)
        self._record_path(stage.name).unlink(missing_ok=True)

    def _refuse_others_files(self, stage: Stage) -> None:
        """Raises RunError where a folder that the stage writes, and throws away, holds what it has not made."""
        places = [place for _, source in self.config.sources for place in paths_of(source)]
        for folder in (self.path(name).resolve() for name in stage.owns):
            inside = next((place for place in places if place.is_relative_to(folder)), None)
            if inside:
                raise RunError(
                    f"{stage.name}: {inside} is a source of the run, and lies in {folder}, whose files the stage replaces; name another run_dir"
                )
            if not self._record(stage.name) and any(file.is_file() for file in folder.rglob("*")):
                raise RunError(
                    f"{stage.name}: {folder} holds files that this run has not made, and the stage would replace; name another run_dir"
                )

    def began(self, stage: Stage) -> str:
        """The hash of the inputs that it was last begun from, also where it is being thrown away; empty where it was not."""
        record = self._record(stage.name)
        return (record.inputs or record.were) if record else ""

    def spoil(self, stage: Stage) -> None:
        """Before anything of it is thrown away: killed from here on, what is left is of no config."""
        if self._record(stage.name):
            self._keep(stage, Record("", were=self.began(stage)))

    def clear_work(self, stage: Stage) -> None:
        """Throw away what a finished stage had laid out to work on."""
        for name in stage.owns:
            shutil.rmtree(self.path(name, WORK), ignore_errors=True)

    def summary(self, name: str) -> dict[str, Any]:
        """A finished stage's summary, with its `seconds` and `finished_at`; empty if it is not finished."""
        record = self._record(name)
        return {**record.summary, "seconds": record.seconds, "finished_at": record.finished_at} if record and record.id else {}

    def _id(self, name: str) -> str | None:
        """The hash of what the finished stage has made; None where it is not finished."""
        record = self._record(name)
        return (record.id or None) if record else None

    def _record(self, name: str) -> Record | None:
        return read_record(self._record_path(name))

    def _keep(self, stage: Stage, record: Record) -> None:
        record.write(self._record_path(stage.name))

    def _record_path(self, name: str) -> Path:
        return self.path(".stages", f"{name}.json")


def resolve_run_dir(run_dir: str) -> Path:
    """The folder of a run. A relative one is relative to here; in a Ray job, whose folder is a throw-away copy, to $RPDR_HOME (~/.rpdr)."""
    if "://" in run_dir:
        raise RunError(f"run_dir {run_dir}: a run lives in a folder that all machines see; a URL is none")
    path = Path(expanded(run_dir)).expanduser()
    if not path.is_absolute() and "_ray_pkg_" in str(Path.cwd()):
        return home() / path
    return path.absolute()


def not_prepared(run: Run, command: str) -> RunError:
    """The error of a command that needs mentions, where the run has none: perhaps it is another folder's run that is meant."""
    here = "" if run.config.run_dir.startswith(("/", "~", "$")) else f" ({RELATIVE})"
    return RunError(f"{command}: {run.folder} has no mentions yet{here}; run first what costs nothing: rpdr prepare --config …")


def _instead(stage: Stage) -> str:
    """What to do where the stage is stale."""
    if stage.corpus:
        return f"{ANOTHER_CORPUS}, or add --redo to throw the results of {stage.name} away"
    redo = f"rpdr {stage.name} --redo --config … (rpdr run_all --redo: what was made from them, too)"
    return f"name a new run_dir, or throw the results of {stage.name} away: {redo}"


def _at(tree: dict[str, Any], dotted: str) -> Any:
    """A section, or a key of one; None where the tree has none."""
    section, _, key = dotted.partition(".")
    found = tree.get(section)
    return found.get(key) if key and found else (None if key else found)


def _without(section: Any, names: tuple[str, ...]) -> Any:
    """A section without these keys; None where nothing is left of it."""
    return {key: value for key, value in section.items() if key not in names} or None if isinstance(section, dict) else section
