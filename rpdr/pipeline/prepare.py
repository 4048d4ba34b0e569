"""Stage `prepare`: knowledge base and mentions as they are in the world -> kb/concepts.parquet, corpus/mentions.parquet, rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rpdr.config import Config
from rpdr.corpus import KnownConcepts, Mention, mention_notes, stream_mentions
from rpdr.corpus.context import Hidden
from rpdr.corpus.overlap import overlap_notes
from rpdr.corpus.source_gold import EXAMPLES, JUDGED, SourceGold
from rpdr.corpus.written import alike, write_corpus
from rpdr.errors import DataError, RunError
from rpdr.files import sha256_tree, writing_rows
from rpdr.kb import kb_notes, read_kb, save_kb
from rpdr.masking import Masker
from rpdr.pipeline.progress import StageProgress, reading_mentions, say
from rpdr.run import Run
from rpdr.run.folder import HIDDEN_FILE
from rpdr.run.sources import seen
from rpdr.schema import HIDDEN
from rpdr.tables.rejects import Reject

REASONS = 3  # why mentions were set aside, that are told
FEW = 5  # mentions with gold, of which none names a known concept by chance
WITHOUT = {  # split -> what is not done where it is empty
    "labelled": "the retriever is tuned on the knowledge base's synonyms alone, and the teacher is shown no example",
    "dev": "confidences are not calibrated, NIL is never said, and nothing can be abstained from",
    "test": "nothing is measured",
    "unlabelled": "the teacher is asked nothing, and a student can learn from labelled mentions alone (student.gold_labels: true)",
}


def prepare(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Read everything once; what cannot be read is set aside, what must not be wrong stops the run."""
    progress.update(0, None, "reading the knowledge base")
    sources = seen([run.config.kb, *run.config.mentions])
    concepts, refused = read_kb(run.config.kb)
    rejected = run.path("corpus", "rejects.parquet")
    of_mentions = dict.fromkeys(chain.from_iterable(map(mention_notes, run.config.mentions)))  # once of a file that several sources read
    say([*kb_notes(run.config.kb), *_lost(refused, len(concepts), rejected), *of_mentions])  # before what may come of it
    known = KnownConcepts(concepts)
    save_kb(run.concepts_file, concepts)
    path = run.mentions_file
    golds = [SourceGold(source, run.config.kb, known) for source in run.config.mentions]
    given = [gold.given for gold in golds]
    read = stream_mentions(run.config.mentions, run.config.seed, known, _defining(run.config), given, _identified(run.config))
    with writing_rows(run.path("corpus", HIDDEN_FILE), HIDDEN) as hide:
        rows = chain(refused, _hiding(_with_gold(read, golds), hide))
        found = write_corpus(rows, path, rejected, reading_mentions(progress))
    splits, reasons = found.splits, found.reasons
    contexts = _contexts(found.contexts, run.config.student.use_context)
    say([*chain.from_iterable(gold.notes() for gold in golds), *overlap_notes(path), *contexts, *_empty(splits, golds)])
    return {
        "content": sha256_tree(run.path("kb")) + sha256_tree(path),
        "sources": sources,
        "concepts": len(concepts),
        "names": sum(len(c.names) for c in concepts),
        "mentions": splits.total(),
        "splits": dict(splits),
        "rejects": reasons.total(),
        "kb_rejects": len(refused),
        "reject_reasons": dict((reasons - Counter(map(alike, refused))).most_common(REASONS)),
        "written_out": found.written_out,
        "cut_contexts": found.cut_contexts,
        "policy": run.config.data_policy,
        "masked_by": _masked_by(run.config),
        "unknown_gold_ids": known.unknown.total(),
        "unknown_gold_mentions": known.unknown_mentions,
        "unknown_gold_distinct": len(known.unknown),
        "unknown_gold_examples": [i for i, _ in known.unknown.most_common(EXAMPLES)],
    }


def check_masked(run: Run) -> None:
    """Raises RunError where mentions are to be masked before they leave, but the texts that they stand in were read under another policy, masked by other
    means, or not at all: names may be written out, and what tells that something identifies may be cut off."""
    told, mask = run.summary("prepare"), _masked_by(run.config)
    if not mask or told["masked_by"] == mask:
        return
    written_out, cut = told["written_out"], told["cut_contexts"]
    why = [
        *([f"{written_out:,} have abbreviations written out, of names too"] if written_out else []),
        *([f"{cut:,} have a context that may be a part of a text, and the rest tells what in it identifies"] if cut else []),
    ]
    if why:
        same = told["policy"] == run.config.data_policy
        other = "with another teacher.names_model or phone_regions" if same else f"under data_policy {told['policy']}"
        raise RunError(
            f"teach: the mentions of {run.folder} were prepared {other}, and {' and '.join(why)}; make them again under data_policy deidentified: "
            "rpdr prepare --redo"
        )


def _masked_by(config: Config) -> list[str]:
    """What masks a document before abbreviations are looked for in it; nothing where it is not masked."""
    return [config.teacher.names_model or "", *config.teacher.phone_regions] if config.data_policy == "deidentified" else []


def _defining(config: Config) -> Callable[[str], str]:
    """What of a document may define abbreviations that are written out: where it is masked before it leaves, what the mask leaves of it, or the name
    behind initials would leave as a mention."""
    if config.data_policy != "deidentified":
        return str
    masker = Masker(config.teacher)
    return lambda document: masker.mask(document)[0]


def _identified(config: Config) -> Callable[[str], Sequence[Hidden]] | None:
    """What must not leave of a text, where it is masked before it does."""
    return Masker(config.teacher).spans if config.data_policy == "deidentified" else None


def _hiding(found: Iterable[Mention | Reject], hide: Callable[[dict[str, Any]], None]) -> Iterator[Mention | Reject]:
    """The same; what of a mention's context must not leave, by the text that it was cut out of, goes to `hide`, rows of schema.HIDDEN."""
    for row in found:
        if isinstance(row, Mention):
            for start, end, kind in row.hidden or ():
                hide({"key": row.key, "start": start, "end": end, "kind": kind})
        yield row


def _with_gold(found: Iterable[Mention | Reject], golds: Sequence[SourceGold]) -> Iterator[Mention | Reject]:
    """The same, counted in `golds`. Raises DataError at the end where a source has mentions in splits that are of no use without gold, and gold for
    none of them, or none that names a concept of the knowledge base: what comes after would learn nothing from it, at a price."""
    for row in found:
        if isinstance(row, Mention) and row.split in JUDGED:
            golds[int(row.mention_id.partition(":")[0])].add(row)
        yield row
    for gold in golds:
        if gold.mentions and not gold.by_split and gold.source.gold == "given":
            raise DataError(
                f"{gold.place}: none of its {gold.mentions:,} mentions in the splits {', '.join(JUDGED)} has gold; name the column "
                f"that has it (`columns: {{text: …, gold: …}}`), or give the source `split: corpus` or `split: unlabelled`"
            )
        if gold.unlike and gold.naming >= FEW:
            raise DataError(gold.told())


def _lost(refused: Sequence[Reject], left: int, file: Path) -> list[str]:
    """A note on the rows of the knowledge base that were set aside, if there are any."""
    if not refused:
        return []
    first = refused[0]
    return [
        f"{first['file']}: {len(refused):,} of the knowledge base's rows were set aside ({file}), concepts left: {left:,}; the first, "
        f"line {first['line']}: {first['reason']}"
    ]


def _empty(splits: Counter[str], golds: Sequence[SourceGold]) -> list[str]:
    """A note for each split that has nothing to work with."""
    usable = sum((gold.by_split for gold in golds), Counter({"unlabelled": splits["unlabelled"]}))
    kind = {split: "mention with gold" if split in JUDGED else "mention" for split in WITHOUT}
    return [f"no {kind[split]} in the split {split}: {what}" for split, what in WITHOUT.items() if not usable[split]]


def _contexts(mentions: int, use_context: bool) -> list[str]:
    """A note where so many of the pool have a context, which costs a question each and teaches the student nothing."""
    if not mentions or use_context:
        return []
    return [
        f"{mentions:,} unlabelled mentions have a context: the teacher reads it, and is asked about a phrase once a sentence, but the student does not "
        "(student.use_context); with `leave_out: [context]` in the source a phrase is asked about once"
    ]
