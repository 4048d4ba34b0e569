"""A whole run, and what its sections must agree on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import Field

from rpdr.config.linking import LinkConfig, ReportConfig, ResourcesConfig
from rpdr.config.models import RetrieverConfig, StudentConfig
from rpdr.config.sources import KbConfig, MentionsConfig
from rpdr.config.teacher import TeacherConfig
from rpdr.config.values import actors_between
from rpdr.sections import Section, read_sections


class Config(Section):
    """A whole run."""

    run_dir: str = Field(min_length=1, description="where the run's state lives, e.g. runs/quickstart")
    seed: int = Field(13, description="of all that is drawn: the same one, the same result")
    data_policy: Literal["public", "deidentified", "restricted"] = Field(
        "restricted",
        description="restricted: text goes to this machine, teacher.allowed_hosts and link.allowed_stores alone; deidentified: what identifies a person is "
        "masked before text goes to the teacher, as well as patterns can; public: text goes as it is. What `link` writes is not masked",
    )
    kb: KbConfig
    mentions: tuple[MentionsConfig, ...] = Field(
        min_length=1, description="a list of sources of mentions, each with the keys of the table `mentions` below"
    )
    corpora: dict[str, MentionsConfig] = Field(
        default={},
        description="mentions to link with the finished student, each under a name of yours, which may be added at any time, with the keys of `mentions` but for "
        "its splits: `rpdr link --corpus NAME` writes them to corpora/NAME/",
    )
    retriever: RetrieverConfig = RetrieverConfig()
    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    link: LinkConfig = LinkConfig()
    report: ReportConfig = ReportConfig()
    resources: ResourcesConfig = ResourcesConfig()

    @pydantic.field_validator("corpora")
    @classmethod
    def _folders_of_unsplit_mentions(cls, corpora: dict[str, MentionsConfig]) -> dict[str, MentionsConfig]:
        for name, source in corpora.items():
            if not re.fullmatch(r"\w[\w.-]*", name):
                raise ValueError(f"{name!r} will be a folder: letters, digits, '_', '-' and '.' alone")
            if source.split != "corpus" or source.split_file or source.split_documents:
                raise ValueError(f"{name}: all of a corpus is linked; it has no splits")
        return corpora

    @property
    def sources(self) -> list[tuple[str, KbConfig | MentionsConfig]]:
        """All that is read, each with the key that names it."""
        corpora = ((f"corpora.{name}", source) for name, source in self.corpora.items())
        return [("kb.path", self.kb), *(("mentions", source) for source in self.mentions), *corpora]

    @property
    def final_top_k(self) -> int:
        """Candidates a mention that the student re-ranks."""
        return self.link.top_k or self.retriever.top_k

    @pydantic.model_validator(mode="after")
    def _more_candidates_come_from_a_second_round(self) -> Config:
        if self.final_top_k != self.retriever.top_k and not self.retriever.second_round:
            raise ValueError("link.top_k needs a second round that retrieves so many: retriever.aliases: true, or retriever.rounds: 2")
        return self

    @pydantic.model_validator(mode="after")
    def _vllm_reads_plain_sequences(self) -> Config:
        if self.link.engine == "vllm" and self.student.none_reads != "mention":
            raise ValueError(
                'link.engine: vllm reads each branch alone, and this student\'s "none of these" reads all candidates: train one with '
                "student.none_reads: mention, or leave link.engine: torch"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _training_finds_its_nodes(self) -> Config:
        needs, student = self.resources.training, self.student
        if needs and student.use_gpu is not None and student.use_gpu != bool(needs.gpus):
            raise ValueError(
                f"student.use_gpu: {student.use_gpu} and resources.training.gpus: {needs.gpus:g} contradict each other; leave use_gpu out"
            )
        if needs and needs.gpus > 1:  # with several, DeepSpeed would look for the model on another than Ray has put it on
            raise ValueError(
                f"resources.training.gpus: {needs.gpus:g}: a training worker uses one GPU; give it 1, and raise student.workers"
            )
        least, most = actors_between(student.workers)
        if needs and 0 < needs.gpus < 1 < most:
            raise ValueError(
                f"resources.training.gpus: {needs.gpus:g}: training workers cannot share a GPU; give each one, or leave student.workers at 1"
            )
        if needs and needs.labels and least < most:
            raise ValueError(
                "student.workers: a range is counted on the nodes of all groups, as Ray Train looks at no labels, and may wait for ever; give one number "
                "(a lost node is waited for), or leave resources.training.labels out"
            )
        return self


def load(path: str | Path, overrides: dict[str, Any] | None = None) -> Config:
    """Read and check a YAML config. `overrides` are dotted keys, e.g. {"run_dir": "runs/x", "student.epochs": 1}.

    Raises ConfigError: one line that names the file, the line and the remedy.
    """
    return read_sections(path, Config, "config", "kb", overrides)
