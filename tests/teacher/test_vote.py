"""Votes: how many answers are asked for, and which one they make."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from doors import question

from rpdr.schema import NIL
from rpdr.teacher import Example, Question, Vote, vote
from rpdr.teacher.client import Answer


class Scripted:
    """A client that answers the nth time that a mention is asked about with the nth word of its script: an index, "-", "?" or "$"."""

    def __init__(self, scripts: dict[str, str]) -> None:
        self.scripts, self.seeds = scripts, list[int]()

    async def ask_many(
        self, questions: Sequence[Question], _: Sequence[Example], seed: int, masked: Sequence[dict[str, int]]
    ) -> list[Answer]:
        self.seeds += [seed] * len(questions)
        return [self._answer(q.key, self.scripts[q.key][seed - 7]) for q in questions]

    def _answer(self, key: str, said: str) -> Answer:
        if said in "?$":
            return Answer(key, f"{key}{said}", False, NIL, 0.0, 1, "set_aside" if said == "?" else "refused_by_budget", "why")
        also = (3,) if said == "b" else ()  # 1, and 3 with it
        choice = NIL if said == "-" else 1 if also else int(said)
        return Answer(key, f"{key}{said}", True, choice, 0.0, 1, "asked", confidence=0.5 + int(said == "1") / 4, also=also)


def ask(script: str, votes: int) -> tuple[Vote, int]:
    """(the vote, how many questions it took)."""
    client = Scripted({"key0": script})
    found = asyncio.run(vote(client, [question(0)], [], 7, votes))
    return found[0], len(client.seeds)


@pytest.mark.parametrize(
    ("script", "votes", "choice", "agreed", "asked"),
    [
        ("1", 1, 1, 1, 1),
        ("11", 3, 1, 2, 2),  # two agree: the third is saved
        ("121", 3, 1, 2, 3),
        ("122", 3, 2, 2, 3),
        ("123", 3, 1, 1, 3),  # none agree: the first, and it is seen
        ("--", 5, NIL, 2, 2),
        ("?11", 3, 1, 2, 3),
        ("1?2", 3, 1, 1, 3),
        ("12", 2, 1, 1, 2),
    ],
)
def test_a_vote_ends_when_two_agree(script: str, votes: int, choice: int, agreed: int, asked: int):
    found, questions = ask(script, votes)
    assert (found.valid, found.choice, found.agreed) == (True, choice, agreed)
    assert questions == asked


def test_answers_agree_that_name_the_same_concepts_all_of_them():
    found, questions = ask("1bb", 3)
    assert (found.choice, found.also, found.agreed, found.confidence, questions) == (1, (3,), 2, 0.5, 3)
    assert ask("1b2", 3)[0].also == ()


def test_each_ballot_has_another_order():
    client = Scripted({"key0": "123"})
    asyncio.run(vote(client, [question(0)], [], 7, 3))
    assert client.seeds == [7, 8, 9]


def test_only_what_is_undecided_is_asked_again():
    client = Scripted({"key0": "11", "key1": "123"})
    found = asyncio.run(vote(client, [question(0), question(1)], [], 7, 3))
    assert client.seeds == [7, 7, 8, 8, 9]
    assert [v.key for v in found] == ["key0", "key1"]


def test_what_was_answered_before_the_money_ended_is_a_label():
    found, questions = ask("1$", 3)
    assert (found.valid, found.choice, found.agreed, found.asked, questions) == (True, 1, 1, 1, 2)
    assert found.cut_short
    assert not ask("1?2", 3)[0].cut_short


def test_no_answer_at_all_is_no_label():
    found, _ = ask("$", 3)
    assert (found.valid, found.source, found.reason) == (False, "refused_by_budget", "why")


def test_confidence_is_that_of_the_answers_that_agree():
    assert ask("121", 3)[0].confidence == 0.75
    assert ask("122", 3)[0].confidence == 0.5
