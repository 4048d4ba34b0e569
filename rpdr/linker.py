"""The product in a notebook: `Linker.load("runs/quickstart").link(["heart attack"])`. No Ray."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from rpdr import config as configuration
from rpdr.answer import answers, exact_answer, operating_point
from rpdr.corpus.abbreviations import definitions, written_out
from rpdr.corpus.context import given_context
from rpdr.corpus.normalise import clean, mention_key
from rpdr.errors import RunError
from rpdr.kb import Concept, load_kb
from rpdr.reranker import Reranker
from rpdr.retriever import ExactNames, Retriever, add_candidates
from rpdr.retriever.exact import UNDECIDED
from rpdr.run import Run
from rpdr.run.loaded import final_retriever, load_reranker, load_retriever
from rpdr.schema import ConceptId

Question = tuple[str, str | None]  # a text, and its context where the student reads it


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


EMPTY = Link("", None, None, 1.0, (), "empty", nil=True)


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
        run = Run(config)
        run.require("distill")
        retriever = load_retriever(final_retriever(run), load_kb(run.concepts_file), config.retriever, device)
        return cls(config, retriever, load_reranker(folder, config, device))

    def link(self, texts: Iterable[str], contexts: Iterable[str | None] | None = None) -> list[Link]:
        """One Link for each text, in order, by the run's `mentions.abbreviations` with those that its context defines written out. Repeats, however
        they are spelled, are linked once. An empty text is NIL with confidence 1. What is no text, as an empty cell of pandas, is no context. Raises
        TypeError for one text that is in no list, or what is no text."""
        if isinstance(texts, str) or isinstance(contexts, str):
            raise TypeError("link takes a list of texts, and of contexts: link([text])")
        texts = list(texts)
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"link takes texts; the one at {number} is {text!r:.40}")
        given = list(contexts) if contexts is not None else [None] * len(texts)
        context = [c if isinstance(c, str) else None for c in given]
        reads = self.config.student.use_context
        questions = [(self._asked(clean(t), c), given_context(c, t) if reads else None) for t, c in zip(texts, context, strict=True)]
        # as a job has it: what differs in case alone is one mention, and asked about as it is first spelled
        keys = [mention_key(text, None, given) for text, given in questions]
        first: dict[str, Question] = {}
        for key, question in zip(keys, questions, strict=True):
            first.setdefault(key, question)
        known = self._answered(list(first.values()))
        return [replace(known[first[key]], text=text) for key, (text, _) in zip(keys, questions, strict=True)]

    def _answered(self, asked: Sequence[Question]) -> dict[Question, Link]:
        """The Link of each different question: by exact names, else by the student."""
        found = dict(zip(asked, self._exact.find([text for text, _ in asked]), strict=True))
        hard = [question for question, row in found.items() if question[0] and row == UNDECIDED]
        by_student = dict(zip(hard, self._by_student(hard), strict=True)) if hard else {}
        easy = {
            question: self._exactly(question[0], self.retriever.concepts[row]) if question[0] else EMPTY
            for question, row in found.items()
            if question not in by_student
        }
        return by_student | easy

    def _by_student(self, hard: Sequence[Question]) -> Iterator[Link]:
        """One Link a question."""
        batch = pa.table({"text": [t for t, _ in hard], "context": [c for _, c in hard], "type": [None] * len(hard)})
        rows = add_candidates(self.retriever, batch, self.config.final_top_k).to_pylist()
        for row, answer in zip(rows, answers(self.reranker, rows, self.config.link.allow_nil, self._point), strict=True):
            yield _link(row["text"], answer, dict(zip(row["candidate_ids"], row["candidate_names"], strict=True)))

    def _asked(self, text: str, context: str | None) -> str:
        return written_out(text, definitions(context)) if context and self._writes_out else text

    def _exactly(self, text: str, concept: Concept) -> Link:
        """It is the name of this one."""
        answer = exact_answer(concept.concept_id, concept.name, self.reranker.calibration, self._point)
        return _link(text, answer, {concept.concept_id: concept.name})


def _link(text: str, answer: Mapping[str, Any], names: Mapping[ConceptId, str]) -> Link:
    """Of an answer as `answers` gives it; `names`: of all candidates."""
    return Link(
        text,
        answer["concept_id"],
        answer["name"],
        answer["confidence"],
        tuple((i, names[i], p) for i, p in zip(answer["ranked_ids"], answer["ranked_scores"], strict=True)),
        answer["source"],
        answer["abstained"],
        tuple(answer["concept_ids"]),
        answer["nil"],
    )
