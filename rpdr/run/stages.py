"""The stages of a run: what each reads, which part of the config shapes it, what it owns, and whether what an earlier rpdr has made is still the same."""

from __future__ import annotations

from dataclasses import dataclass

from rpdr.config import Config
from rpdr.errors import ConfigError


@dataclass(frozen=True)
class Stage:
    """A stage's name, the stages that it reads, the config sections (or single keys) that shape it, and the folders that it owns. `where_given`: keys that
    shape it where they are not as by default, so that what was made before they did is still the same. `revision` is
    raised where mended code, or another default, finds something else than it did: what was made before is stale. `resumes`: whether a start goes on
    from what an unfinished one has left. `corpus`: which of the config's `corpora` it links; empty for a stage that a run has once."""

    name: str
    after: tuple[str, ...]
    sections: tuple[str, ...]
    owns: tuple[str, ...]
    revision: int = 1
    resumes: bool = True
    where_given: tuple[str, ...] = ()
    corpus: str = ""


LINK_REVISION = 4  # of the run's own mentions and of further corpora
STAGES = {
    stage.name: stage
    for stage in (
        Stage("prepare", (), ("kb", "mentions", "seed"), ("kb", "corpus"), resumes=False, revision=3),
        Stage("retriever", ("prepare",), ("retriever", "seed"), ("retriever", "index"), revision=4),
        Stage("candidates", ("retriever",), ("retriever",), ("candidates",)),
        Stage("teach", ("candidates",), ("teacher", "data_policy", "seed"), ("labels",)),
        Stage(
            "retune",
            ("teach",),
            ("retriever", "retriever.rounds", "retriever.aliases", "retriever.commonness", "link.top_k", "link.several", "seed"),
            ("retuned",),
            revision=5,
            where_given=("student.gold_labels",),
        ),
        Stage("baselines", ("retune",), ("retriever", "retriever.baselines", "link.several", "seed"), ("baselines",)),
        Stage(
            "distill",
            ("retune",),
            ("student", "link.allow_nil", "link.several", "link.exact_match", "seed"),
            ("student", "student.training"),
            revision=9,
        ),
        Stage("link", ("distill",), ("student", "link"), ("linked",), revision=LINK_REVISION),
        Stage("report", ("link", "baselines"), ("report",), ("report",), revision=6),
    )
}


def linking(corpus: str) -> Stage:
    """The stage that links one of the config's `corpora`: nothing is made from it, so it may be added to a finished run."""
    return Stage(
        f"link-{corpus}", ("distill",), ("student", "link", f"corpora.{corpus}"), (f"corpora/{corpus}",), LINK_REVISION, corpus=corpus
    )


def check_corpus(config: Config, corpus: str) -> None:
    """Raises ConfigError where this is none of the config's `corpora`."""
    if corpus not in config.corpora:
        there = f"there are: {', '.join(config.corpora)}" if config.corpora else "there are none"
        raise ConfigError(
            f"corpora.{corpus or repr(corpus)}: the config has no such corpus ({there}); add it with `format`, `path` and `columns`, as under "
            "`mentions`"
        )


# what a user may change between two starts of a stage without making its results another experiment
TUNABLE = {
    # what only a later stage reads, which names it; and how what is found is laid out
    "retriever": ("baselines", "rounds", "aliases", "commonness", "index_parts"),
    "teacher": (
        *("budget_usd", "max_mentions", "requests_per_minute", "tokens_per_minute", "timeout_s", "patience_s", "max_attempts"),
        *("actors", "concurrency", "api_key_env", "allowed_hosts", "price", "mode", "batch"),
    ),
    "link": ("allowed_stores", "engine", "retriever_actors", "student_actors", "student_gpus", "batch_size"),
    "student": ("checkpoint_every_steps", "micro_batch_tokens", "workers", "threads_per_worker", "use_gpu"),  # they change rounding alone
}
