"""The product in a notebook: `Linker.load("runs/quickstart").link(["heart attack"])`. No Ray.

Also home of the rules that the batch job shares with it: what an exact name decides, how probabilities become an answer, and when it is withheld.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rpdr import config as configuration
from rpdr.corpus.abbreviations import definitions, written_out
from rpdr.corpus.context import given_context
from rpdr.corpus.normalise import clean, mention_key
from rpdr.errors import RunError
from rpdr.kb import Concept, load_kb
from rpdr.models import load_encoder
from rpdr.pipeline.run import Run
from rpdr.reranker import Calibration, OperatingPoint, Reranker, queries
from rpdr.reranker.reranker import CALIBRATION_FILE
from rpdr.reranker.shortcut import Shortcut
from rpdr.reranker.vllm_engine import load_on_vllm
from rpdr.retriever import ExactNames, Retriever, add_candidates, similarity_matrix
from rpdr.retriever.exact import UNDECIDED
from rpdr.retriever.vectors import Vectors
from rpdr.schema import ConceptId

AT_ONCE = 4  # batches of the student that its actor is given; vLLM makes batches of its own, and takes them together
RETUNED = "retuned"  # the folder of the second round's retriever and index


@dataclass(frozen=True)
class Link:
    """The answer for one text: `concept_id` and `name` are None where no concept of the knowledge base fits (NIL), and where it `abstained`.

    `confidence` in [0, 1] is the calibrated probability that this answer, or the one withheld, is right, and `nil` whether that is NIL; `ranked` are
    all candidates as (id, name, probability), best first, whether abstained or not, their probabilities and NIL's with a sum of 1. `concept_ids`: all
    concepts of the answer, where a mention may name several.
    """

    text: str  # as it was linked: clean, with its abbreviations written out
    concept_id: ConceptId | None
    name: str | None
    confidence: float
    ranked: tuple[tuple[ConceptId, str, float], ...]
    source: str
    abstained: bool = False
    concept_ids: tuple[ConceptId, ...] = ()
    nil: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Of `concept_ids`."""
        known = {i: name for i, name, _ in self.ranked}
        return tuple(known[i] for i in self.concept_ids)

    @property
    def guess(self) -> str | None:
        """The name of the concept that is given or, abstained, would have been; None for NIL."""
        return None if self.nil or not self.ranked else self.ranked[0][1]


class Linker:
    """A finished run, ready to link a few texts."""

    def __init__(self, config: configuration.Config, retriever: Retriever, reranker: Reranker) -> None:
        self.config, self.retriever, self.reranker = config, retriever, reranker
        self._writes_out = any(source.abbreviations for source in config.mentions)
        self._exact = ExactNames.for_student(retriever.concepts if config.link.exact_match else (), Run(config).path("student"))
        self._point = operating_point(reranker.calibration, config.link)
        self.warning = self._point.warning() if self._point else None
        if self.warning:
            warnings.warn(self.warning, stacklevel=2)

    @classmethod
    def load(cls, run_dir: str | Path, device: str | None = None, target_precision: float | None = None) -> Linker:
        """From a run directory whose student is trained; `target_precision` in place of the run's own link.target_precision, where given.

        Raises RunError if there is no finished student or a stage before it was made again since, ModelError if a model cannot be loaded,
        ConfigError for a target that is none. Warns where the dev mentions cannot show the target.
        """
        folder = Path(run_dir).expanduser()
        if not (folder / "config.yaml").exists():
            raise RunError(f"{folder}: no config.yaml here; run `rpdr prepare --config …` first")
        overrides = {"run_dir": str(folder.absolute()), **({} if target_precision is None else {"link.target_precision": target_precision})}
        config = configuration.load(folder / "config.yaml", overrides)
        Run(config).require("distill")
        folders = retriever_folders(folder, config.retriever)
        concepts = load_kb(folder / "kb" / "concepts.parquet")
        retriever = load_retriever(folders, concepts, config.retriever, device)
        return cls(config, retriever, load_reranker(folder, config, device))

    def link(self, texts: Sequence[str], contexts: Sequence[str | None] | None = None) -> list[Link]:
        """One Link for each text, in order, by the run's `mentions.abbreviations` with those that its context defines written out. Repeats, however
        they are spelled, are linked once. An empty text is NIL with confidence 1. Raises TypeError for one text that is in no list."""
        if isinstance(texts, str) or isinstance(contexts, str):
            raise TypeError("link takes a list of texts, and of contexts: link([text])")
        context = list(contexts) if contexts is not None else [None] * len(texts)
        reads = self.config.student.use_context
        questions = [(self._asked(clean(t), c), given_context(c, t) if reads else None) for t, c in zip(texts, context, strict=True)]
        # as a job has it: what differs in case alone is one mention, and asked about as it is first spelled
        keys = [mention_key(text, None, given) for text, given in questions]
        first: dict[str, tuple[str, str | None]] = {}
        for key, question in zip(keys, questions, strict=True):
            first.setdefault(key, question)
        asked = list(first.values())
        exact = self._exact.find([t for t, _ in asked])
        hard = [question for question, row in zip(asked, exact, strict=True) if question[0] and row == UNDECIDED]
        known: dict[tuple[str, str | None], Link] = {}
        if hard:
            batch = pa.table({"text": [t for t, _ in hard], "context": [c for _, c in hard], "type": [None] * len(hard)})
            rows = add_candidates(self.retriever, batch, self.config.final_top_k).to_pylist()
            names = {c: n for row in rows for c, n in zip(row["candidate_ids"], row["candidate_names"], strict=True)}
            for question, answer in zip(hard, answers(self.reranker, rows, self.config.link.allow_nil, self._point), strict=True):
                ranked = tuple((ConceptId(i), names[i], p) for i, p in zip(answer["ranked_ids"], answer["ranked_scores"], strict=True))
                said = (answer["concept_id"], answer["name"], answer["confidence"])
                known[question] = Link(
                    question[0], *said, ranked, answer["source"], answer["abstained"], tuple(answer["concept_ids"]), answer["nil"]
                )
        for question, row in zip(asked, exact, strict=True):
            if question not in known:
                known[question] = self._easy(question[0], self.retriever.concepts[row])
        return [replace(known[first[key]], text=text) for key, (text, _) in zip(keys, questions, strict=True)]

    def _asked(self, text: str, context: str | None) -> str:
        return written_out(text, definitions(context)) if context and self._writes_out else text

    def _easy(self, text: str, concept: Concept) -> Link:
        if not text:
            return Link(text, None, None, 1.0, (), "empty", nil=True)
        answer = exact_answer(concept.concept_id, concept.name, self.reranker.calibration, self._point)
        ranked = ((concept.concept_id, concept.name, answer["confidence"]),)
        return Link(
            text,
            answer["concept_id"],
            answer["name"],
            answer["confidence"],
            ranked,
            "exact",
            answer["abstained"],
            tuple(answer["concept_ids"]),
        )


def retriever_folders(run_folder: Path, settings: configuration.RetrieverConfig) -> tuple[Path, Path]:
    """(encoder, index) that find what the student re-ranks."""
    again = run_folder / RETUNED
    return (again if settings.rounds == 2 else run_folder) / "retriever", (again if settings.second_round else run_folder) / "index"


def load_retriever(
    folders: tuple[Path, Path],
    concepts: Sequence[Concept],
    settings: configuration.RetrieverConfig,
    device: str | None = None,
    own: Callable[[int], Vectors] | None = None,
) -> Retriever:
    """Of an encoder and an index in `folders`; `own`: see `Index.load`. Raises ModelError."""
    encoder, index = folders
    return Retriever.load(load_encoder(str(encoder.absolute()), settings.max_tokens, device), index, concepts, settings.prefix, own)


def calibrated(folder: Path, settings: configuration.LinkConfig) -> tuple[Calibration, Shortcut | None]:
    """Of a student's folder, under these settings: its calibration, as dev mentions are answered now, and what it is not asked about."""
    calibration, shortcut = Calibration.load(folder / CALIBRATION_FILE), Shortcut.load(folder)
    if shortcut is None or settings.shortcut is None or not calibration.dev_right:
        return calibration, None
    shortcut = shortcut.at(settings.shortcut, settings.exact_match)
    return shortcut.seen_by(calibration), shortcut


def load_reranker(run_folder: Path, config: configuration.Config, device: str | None = None, for_vllm: Path | None = None) -> Reranker:
    """A run's student, under the settings of its config's `link`; `for_vllm`: what `vllm_engine.prepare` made of it. Raises ModelError."""
    if for_vllm:
        needs = config.resources.reranking
        student = load_on_vllm(for_vllm, config.student, needs.gpus if needs else config.link.student_gpus)
        reranker = Reranker(student, Calibration(), AT_ONCE * config.link.batch_size, "cpu")
    else:
        reranker = Reranker.load(run_folder / "student", config.student, config.link.batch_size, device)
    reranker.calibration, reranker.shortcut = calibrated(run_folder / "student", config.link)
    return reranker


def operating_point(calibration: Calibration, settings: configuration.LinkConfig) -> OperatingPoint | None:
    """Where to abstain under these settings; None: nowhere."""
    return None if settings.target_precision is None else calibration.operating_point(settings.target_precision, settings.exact_match)


def answers(
    reranker: Reranker, rows: Sequence[dict[str, Any]], allow_nil: bool, point: OperatingPoint | None = None
) -> list[dict[str, Any]]:
    """For rows of schema.CANDIDATES: concept_id, name (both None for NIL or abstained), concept_ids, abstained, nil, confidence, ranked_ids,
    ranked_scores, source. The student is asked about what the retriever is not sure enough of."""
    if not rows:
        return []
    shortcut, taken = reranker.shortcut, np.zeros(len(rows), dtype=bool)
    found: list[dict[str, Any]] = [{}] * len(rows)
    if shortcut:
        similarities = similarity_matrix([row["scores"] for row in rows], max(len(row["scores"]) for row in rows))
        probabilities, taken = shortcut.probabilities(similarities, allow_nil)
        for n in np.flatnonzero(taken).tolist():
            found[n] = _answer(rows[n], probabilities[n], shortcut.calibration, allow_nil, point, "retriever")
    hard = np.flatnonzero(~taken).tolist()
    if hard:
        for n, p in zip(hard, reranker.probabilities(queries(rows[n] for n in hard)), strict=True):
            found[n] = _answer(rows[n], p, reranker.calibration, allow_nil, point, "student")
    return found


def _answer(
    row: Mapping[str, Any], p: np.ndarray, calibration: Calibration, allow_nil: bool, point: OperatingPoint | None, source: str
) -> dict[str, Any]:
    """By probabilities (k + 1,), "none of these" last."""
    n = len(row["candidate_ids"])
    [best], [nil], [sure] = calibration.decide(p[None], allow_nil)
    order = np.argsort(-p[:n], kind="stable")
    abstained = point is not None and not point.gives(float(sure))
    silent = nil or abstained
    also = [row["candidate_ids"][i] for i in order[1:] if p[i] > calibration.also_above]
    return {
        "concept_id": None if silent else row["candidate_ids"][best],
        "name": None if silent else row["candidate_names"][best],
        "concept_ids": [] if silent else [row["candidate_ids"][best], *also],
        "abstained": abstained,
        "nil": bool(nil),
        "confidence": float(sure),
        "ranked_ids": [row["candidate_ids"][i] for i in order],
        "ranked_scores": p[order].tolist(),
        "source": source,
    }


def exact_answer(concept_id: ConceptId, name: str, calibration: Calibration, point: OperatingPoint | None) -> dict[str, Any]:
    """What `answers` gives for a mention that is a name of this concept alone, whose preferred name is `name`."""
    sure = calibration.exact_confidence
    abstained = point is not None and not point.gives(sure, exact=True)
    return {
        "concept_id": None if abstained else concept_id,
        "name": None if abstained else name,
        "concept_ids": [] if abstained else [concept_id],
        "abstained": abstained,
        "nil": False,
        "confidence": sure,
        "ranked_ids": [concept_id],
        "ranked_scores": [sure],
        "source": "exact",
    }


def guesses(row: Mapping[str, Any], calibration: Calibration) -> list[ConceptId]:
    """All concepts that a row of schema.LINKED says or, where it abstained, would have said; `calibration`: the student's."""
    if row["nil"] or not row["abstained"]:
        return list(row["concept_ids"])
    above = calibration.also_above if row["source"] == "student" else 1.0
    first, *others = row["ranked_ids"]
    return [first, *(i for i, p in zip(others, row["ranked_scores"][1:], strict=True) if p > above)]


def guess(row: Mapping[str, Any]) -> ConceptId | None:
    """What a row of schema.LINKED says or, where it abstained, would have said; None for NIL."""
    return None if row["nil"] else row["ranked_ids"][0]
