"""A label from the teacher's answers: one, or a vote that asks again in another order of the options only until two agree.

Self-consistency (Wang et al. 2023, arXiv 2203.11171) by order of options rather than by temperature: position is what LLMs err by here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rpdr.schema import NIL
from rpdr.teacher.prompt import Example, Question

if TYPE_CHECKING:
    from rpdr.teacher.client import Answer

AGREE = 2


class Asks(Protocol):
    """A TeacherClient or a BatchClient."""

    async def ask_many(
        self, questions: Sequence[Question], examples: Sequence[Example], seed: int, masked: Sequence[dict[str, int]] = ()
    ) -> list[Answer]:
        """See TeacherClient.ask_many."""


@dataclass(frozen=True)
class Vote:
    """What the teacher says of a mention. `choice` is an index into its candidates or NIL, `also` others that it names; only a `valid` vote says anything.

    `agreed` of `asked` valid answers name the same. `confidence`: the endpoint's own, the mean of those that agreed; None where it
    gives none. `source` and `reason` as of an Answer; `ledger_ids` are its requests'. `cut_short`: the budget ended before it was decided.
    """

    key: str
    valid: bool
    choice: int
    agreed: int
    asked: int
    confidence: float | None
    ledger_ids: list[str]
    source: str
    reason: str
    also: tuple[int, ...] = ()
    cut_short: bool = False


async def vote(
    client: Asks,
    questions: Sequence[Question],
    examples: Sequence[Example],
    seed: int,
    votes: int,
    masked: Sequence[dict[str, int]] = (),
) -> list[Vote]:
    """A vote a question, in their order, of at most `votes` answers each. Raises as ask_many."""
    answers: list[list[Answer]] = [[] for _ in questions]
    for ballot in range(votes):
        # the seed orders the options: another ballot, another order
        open_ = [n for n, given in enumerate(answers) if not _decided(given, votes)]
        if not open_:
            break
        asked = await client.ask_many([questions[n] for n in open_], examples, seed + ballot, [masked[n] for n in open_] if masked else ())
        for n, answer in zip(open_, asked, strict=True):
            answers[n].append(answer)
    return [_count(given) for given in answers]


def _decided(given: Sequence[Answer], votes: int) -> bool:
    if not given:
        return False
    if not given[-1].valid and given[-1].source in ("refused_by_budget", "failed"):
        return True  # more questions would end no better
    counts = Counter((a.choice, a.also) for a in given if a.valid)
    return max(counts.values(), default=0) >= min(AGREE, votes)


def _count(given: Sequence[Answer]) -> Vote:
    valid = [a for a in given if a.valid]
    ids = [a.request_id for a in given]
    if not valid:
        last = given[-1]
        return Vote(last.key, False, NIL, 0, 0, None, ids, last.source, last.reason)
    (choice, also), agreed = Counter((a.choice, a.also) for a in valid).most_common(1)[0]  # of equals, the first answer's
    sure = [a.confidence for a in valid if (a.choice, a.also) == (choice, also) and a.confidence is not None]
    source = "asked" if any(a.source == "asked" for a in given) else "ledger"
    cut_short = given[-1].source == "refused_by_budget"
    return Vote(given[0].key, True, choice, agreed, len(valid), sum(sure) / len(sure) if sure else None, ids, source, "", also, cut_short)
