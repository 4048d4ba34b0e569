"""Stage `prepare`: knowledge base and mentions as they are in the world -> kb/concepts.parquet, corpus/mentions.parquet, rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rpdr.config import Config, MentionsConfig
from rpdr.corpus import KnownConcepts, Mention, stream_mentions
from rpdr.corpus.mention import ROWS_AT_ONCE, writing_mentions
from rpdr.errors import DataError, RunError
from rpdr.files import sha256_tree, writing_rows
from rpdr.kb import read_kb, save_kb
from rpdr.kb.rejects import Reject
from rpdr.pipeline.progress import StageProgress
from rpdr.pipeline.run import Run
from rpdr.pipeline.sources import seen
from rpdr.remote import shown
from rpdr.schema import REJECTS
from rpdr.teacher import Masker

JUDGED = ("labelled", "dev", "test")  # splits that are of no use without gold


def prepare(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Read everything once; what cannot be read is set aside, what must not be wrong stops the run."""
    progress.update(0, None, "reading the knowledge base")
    sources = seen([run.config.kb, *run.config.mentions])
    concepts, refused = read_kb(run.config.kb)
    known = KnownConcepts(concepts)
    save_kb(run.path("kb", "concepts.parquet"), concepts)
    path = run.path("corpus", "mentions.parquet")
    read = stream_mentions(run.config.mentions, run.config.seed, known, _defining(run.config))
    found = chain(refused, _with_gold(read, run.config.mentions))
    splits, rejects, written_out = write_corpus(found, path, run.path("corpus", "rejects.parquet"), progress)
    return {
        "content": sha256_tree(run.path("kb")) + sha256_tree(path),
        "sources": sources,
        "concepts": len(concepts),
        "names": sum(len(c.names) for c in concepts),
        "mentions": splits.total(),
        "splits": dict(splits),
        "rejects": rejects,
        "written_out": written_out,
        "policy": run.config.data_policy,
        "unknown_gold_ids": known.unknown.total(),
        "unknown_gold_examples": [i for i, _ in known.unknown.most_common(5)],
    }


def check_names(run: Run) -> None:
    """Raises RunError where mentions are to be masked before they leave, but what they abbreviate was written out under another policy, and may be a name."""
    told = run.summary("prepare")
    if run.config.data_policy == "deidentified" and told.get("policy") != "deidentified" and told.get("written_out"):
        raise RunError(
            f"teach: the mentions of {run.folder} were prepared under data_policy {told['policy']}, and {told['written_out']:,} have abbreviations "
            "written out, of names too; make them again under data_policy deidentified: rpdr prepare --redo"
        )


def _defining(config: Config) -> Callable[[str], str]:
    """What of a document may define abbreviations that are written out: where it is masked before it leaves, what the mask leaves of it, or the name
    behind initials would leave as a mention."""
    if config.data_policy != "deidentified":
        return str
    masker = Masker.of(config.teacher)
    return lambda document: masker.mask(document)[0]


def _with_gold(found: Iterable[Mention | Reject], sources: Sequence[MentionsConfig]) -> Iterator[Mention | Reject]:
    """The same. Raises DataError at the end where a source has mentions in splits that are of no use without gold, and gold for none of them."""
    judged: Counter[int] = Counter()
    known: Counter[int] = Counter()
    for row in found:
        if isinstance(row, Mention) and row.split in JUDGED:
            source = int(row.mention_id.partition(":")[0])
            judged[source] += 1
            known[source] += row.gold is not None
        yield row
    for source in judged:
        if not known[source] and sources[source].gold == "given":
            raise DataError(
                f"{shown(sources[source].path)}: none of its {judged[source]:,} mentions in the splits {', '.join(JUDGED)} has gold; name the column "
                f"that has it (`columns: {{text: …, gold: …}}`), or give the source `split: corpus` or `split: unlabelled`"
            )


def write_corpus(
    found: Iterable[Mention | Reject], mentions: Path, rejects: Path, progress: StageProgress
) -> tuple[Counter[str], int, int]:
    """Write each to its file as it comes. (mentions by split, rejects, mentions with abbreviations written out)."""
    splits: Counter[str] = Counter()
    refused = written_out = 0
    with writing_mentions(mentions) as write, writing_rows(rejects, REJECTS) as set_aside:  # the mentions are put in place last
        for row in found:
            if isinstance(row, Mention):
                write(row)
                splits[row.split] += 1
                written_out += row.written is not None
                if splits.total() % ROWS_AT_ONCE == 0:
                    progress.update(splits.total(), None, "reading mentions")
            else:
                set_aside(row)
                refused += 1
    return splits, refused, written_out
