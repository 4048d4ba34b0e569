"""Stage `retune`: the teacher's labels -> retuned/, a second round of the retriever, which finds what the student learns from and re-ranks.

Linked mentions become names of their concepts (see links); with `retriever.rounds: 2` the encoder
is tuned on the teacher's labels too. Either way the retriever is sure of what it has met: had it met the labels that the student learns
from, the student would learn to follow it alone. So for a label the alias that it made itself is passed over, and its similarities come
from an encoder that was tuned on the labels of the other fold (cross-fitting, as in stacked generalisation, Wolpert 1992,
doi 10.1016/S0893-6080(05)80023-1). With `student.gold_labels` the same holds of the labelled mentions: then an encoder of a fold is the base model, tuned
anew. New mentions are met with all aliases, by an encoder that was tuned on all labels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rpdr.corpus import load_mentions, normalise
from rpdr.files import sha256, sha256_tree, write_rows, write_table
from rpdr.kb import Concept, load_kb
from rpdr.pipeline.candidates import retrieved
from rpdr.pipeline.links import gold_pairs, links_of, met_as_new, remembering, with_links
from rpdr.pipeline.progress import StageProgress
from rpdr.pipeline.trust import believed_again
from rpdr.pipeline.tuning import tuned_encoder
from rpdr.retriever import Commonness, Pair, Retriever, rescored
from rpdr.run import STAGES, WORK, Run
from rpdr.run.folder import CANDIDATES_FILE, LABELS_FILE, RETUNED
from rpdr.run.found import LABELLED_FILE
from rpdr.run.gold import by_gold
from rpdr.run.labels import TRUSTED, names_one_of_several, taught_pairs
from rpdr.run.loaded import final_retriever, load_retriever
from rpdr.schema import CANDIDATES, LABELS, NIL, MentionKey, chosen_ids

FOLDS = 2
PASSES = 2  # the first pass's aliases tell which labels to trust, the second's are of those


def retune(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Tune again, add aliases, retrieve anew, score the labels and trust them anew; nothing unless `retriever.aliases` or
    `retriever.rounds: 2` asks for it."""
    settings = run.config.retriever
    if not settings.second_round:
        return {"tuned": False, "aliases": 0}
    concepts = load_kb(run.concepts_file)
    mentions = load_mentions(run.mentions_file, "labelled", "dev", "test")  # the pool's are in its labels
    labels = pq.read_table(run.teacher_labels).to_pylist()
    by_hand = [m for m in mentions if m.split == "labelled"]
    gold = gold_pairs(by_hand, concepts)
    folder = run.path(RETUNED)
    encoders: dict[int, Any] = {}
    taught = [row for row in labels if row["trust"] > TRUSTED and row["choice"] != NIL] if settings.rounds == 2 else []
    if settings.rounds == 2:
        learned = [row["text"] for row in labels] + [m.text for m in by_hand if run.config.student.gold_labels]
        base, encoders = _tuned(run, concepts, gold, taught, {*map(_fold, learned)}, progress)
    else:
        base = load_retriever((run.path("retriever"), run.path("index")), concepts, settings).plain()
    base, readers = remembering(base), _readers(encoders, labels, base)
    progress.update(0, None, "scoring labels")
    dev = [m for m in mentions if m.split == "dev"]
    final, discount = base, 0.0
    for _ in range(PASSES if settings.aliases or settings.commonness else 1):
        trusted = [row for row in labels if row["trust"] > TRUSTED]
        aliases = gold + taught_pairs(trusted, concepts) if settings.aliases else []
        links = links_of(mentions, trusted, concepts) if settings.commonness else None
        final, discount = with_links(base, mentions, aliases, links, run.config.final_top_k)
        scored = _cross_fitted(readers, labels, aliases, discount, final.commonness) if encoders else rescored(final, labels)
        scored = [_rechosen(row, old) for row, old in zip(scored, labels, strict=True)]
        labels = believed_again(scored, by_gold(dev, met_as_new(final, dev, settings.top_k)))
    final.save(folder / "index")
    asked = [m for m in mentions if m.split in ("dev", "test")]
    found, _ = retrieved(run, asked, final_retriever(run), run.config.final_top_k, progress)
    offered = list(met_as_new(final, by_hand, settings.top_k).values())
    if encoders and run.config.student.gold_labels:
        offered = _cross_fitted(_readers(encoders, offered, base), offered, aliases, discount, final.commonness)
    write_table(folder / CANDIDATES_FILE, found, CANDIDATES)
    write_rows(folder / LABELLED_FILE, offered, CANDIDATES)
    write_rows(folder / LABELS_FILE, labels, LABELS)
    run.clear_work(STAGES["retune"])  # it is none of the content
    return {
        "tuned": settings.rounds == 2,
        "content": sha256_tree(folder, without="index/names*.faiss"),  # in how many files, nothing hangs on
        "teacher_pairs": len(taught),
        "aliases": final.index.aliases,
        "alias_discount": discount if final.index.aliases else None,
        "commonness": asdict(final.commonness.weights) if final.commonness else None,
    }


def _tuned(
    run: Run,
    concepts: Sequence[Concept],
    gold: list[Pair],
    taught: Sequence[dict[str, Any]],
    folds: Collection[int],
    progress: StageProgress,
) -> tuple[Retriever, dict[int, Any]]:
    """A retriever tuned on all that is `taught`, and by each of these `folds` an encoder that was tuned on the others' part of it."""
    settings = run.config.retriever
    anew = run.config.student.gold_labels  # the run's encoder has met all gold

    def tuned(by_hand: Sequence[Pair], rows: Sequence[dict[str, Any]], kept: Path, what: str, again: bool = True) -> Any:
        pairs = [*by_hand, *taught_pairs(rows, concepts, names_one_of_several(run.config))]
        return tuned_encoder(run, concepts, pairs, progress, kept, what, again)

    encoders = {}
    for fold in sorted(folds):
        others = [row for row in taught if _fold(row["text"]) != fold]
        by_hand = [pair for pair in gold if _fold(pair.anchor) != fold] if anew else gold
        kept = run.path(RETUNED, WORK, f"fold-{fold + 1}")
        encoders[fold] = tuned(by_hand, others, kept, f"for fold {fold + 1} of {FOLDS}", again=not anew)
    encoder = tuned(gold, taught, run.path(RETUNED, "retriever"), "on all labels")
    progress.update(0, None, "indexing names")  # minutes of a large knowledge base
    asked = [pair.anchor for pair in gold]
    return Retriever.build(encoder, concepts, settings.prefix, settings.index, asked, settings.index_parts), encoders


@dataclass(frozen=True)
class _Reader:
    """A retriever, and the rows that it may score: those that it was not tuned on."""

    retriever: Retriever
    keys: frozenset[MentionKey]


def _readers(encoders: Mapping[int, Any], rows: Sequence[dict[str, Any]], like: Retriever) -> list[_Reader]:
    """Of each fold's encoder, over the candidates of the fold's `rows` alone."""
    found = []
    for fold, encoder in encoders.items():
        mine = [row for row in rows if _fold(row["text"]) == fold]
        if mine:
            asked = {concept for row in mine for concept in row["candidate_ids"]}
            retriever = Retriever.build(encoder, like.concepts, like.prefix, only=asked)
            found.append(_Reader(remembering(retriever), frozenset(row["key"] for row in mine)))
    return found


def _cross_fitted(
    readers: Sequence[_Reader], rows: Sequence[dict[str, Any]], aliases: Sequence[Pair], discount: float, common: Commonness | None
) -> list[dict[str, Any]]:
    """The rows in their order, the candidates of each as its reader scores them."""
    found: dict[MentionKey, dict[str, Any]] = {}
    for reader in readers:
        mine = [row for row in rows if row["key"] in reader.keys]
        found |= {row["key"]: row for row in rescored(reader.retriever.with_aliases(aliases, discount).with_commonness(common), mine)}
    return [found[row["key"]] for row in rows]


def _rechosen(row: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """`row` with the choices of `old`, whose candidates it has in another order."""
    choice, *also = sorted(row["candidate_ids"].index(chosen) for chosen in chosen_ids(old)) or [NIL]
    return {**row, "choice": choice, "also": also}


def _fold(text: str) -> int:
    """By the text alone: the same text in another context would tell its encoder the answer. By hash: the same in each run."""
    return int(sha256(normalise(text))[:8], 16) % FOLDS
