"""The simulated teacher, asked about test mentions: how good it is where the student is measured.

It is told their gold for this alone, of a finished run: no student learns from what it says here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rpdr.corpus import Mention
from rpdr.kb import load_kb
from rpdr.pipeline.questions import question_of
from rpdr.pipeline.teach import sandbox_of
from rpdr.run import Run
from rpdr.run.found import load_candidates
from rpdr.schema import NIL, ConceptId, chosen_id
from rpdr.teacher import Example, Question, SandboxTeacher, build_messages, read_answer
from rpdr.teacher.client import ANSWERS_READ, Answer
from rpdr.teacher.vote import vote


@dataclass(frozen=True)
class Asked:
    """Asks the simulation without HTTP, ledger or price; a teacher's client to `vote`."""

    teacher: SandboxTeacher
    several: bool

    async def ask_many(
        self, questions: Sequence[Question], examples: Sequence[Example], seed: int, masked: Sequence[dict[str, int]] = ()
    ) -> list[Answer]:
        """See TeacherClient.ask_many; what cannot be read is asked once more, as there."""
        return [self._answer(question, seed) for question in questions]

    def _answer(self, question: Question, seed: int) -> Answer:
        messages, order = build_messages(question, [], seed, self.several)  # it reads no examples
        for _ in range(ANSWERS_READ):
            named = read_answer(self.teacher.reply(messages[-1]["content"], several=self.several).text, order, self.several)
            if named is not None:
                choice, *also = named or [NIL]
                return Answer(question.key, "", True, choice, 0.0, 1, "asked", also=tuple(also))
        return Answer(question.key, "", False, NIL, 0.0, ANSWERS_READ, "set_aside")


def teachers_answers(run: Run, mentions: Sequence[Mention]) -> list[list[ConceptId | None]]:
    """What the run's teacher says of each mention, then the few-label retriever's order; those of one question are asked about once."""
    settings = run.config.teacher
    concepts = load_kb(run.concepts_file)
    definitions = {c.concept_id: c.definition for c in concepts}
    found = load_candidates(run, keys={m.key for m in mentions})
    client = Asked(sandbox_of(run, concepts, mentions), settings.several)
    votes = asyncio.run(vote(client, [question_of(row, definitions) for row in found.values()], [], run.config.seed, settings.votes))
    chosen = {v.key: chosen_id({**row, "choice": v.choice}) for v, row in zip(votes, found.values(), strict=True)}
    return [[chosen[m.key], *(i for i in found[m.key]["candidate_ids"] if i != chosen[m.key])] for m in mentions]
