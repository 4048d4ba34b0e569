"""What the tests of the client share: a governor as the client wants it, and questions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from rpdr.config import Price, SandboxConfig, TeacherConfig
from rpdr.teacher import Answer, Endpoint, Governor, Ledger, Question, TeacherClient

PRICE = Price(input_usd_per_million=10.0, output_usd_per_million=30.0)
NAMES = ("Vomiting", "Nausea", "Dysphagia", "Fever")
PERFECT = SandboxConfig(accuracy=1.0, invalid_rate=0.0, latency_s=0.0)


class Door:
    """A Governor of this process, awaited."""

    def __init__(self, governor: Governor) -> None:
        self.governor = governor

    async def reserve(self, prompt_tokens: int, max_output_tokens: int) -> str | None:
        return self.governor.reserve(prompt_tokens, max_output_tokens)

    async def settle(self, reservation: str, prompt_tokens: int, completion_tokens: int) -> float:
        return self.governor.settle(reservation, prompt_tokens, completion_tokens)

    async def release(self, reservation: str) -> None:
        self.governor.release(reservation)


def question(n: int) -> Question:
    return Question(f"key{n}", f"phrase {n}", None, None, ("C0", "C1", "C2", "C3"), NAMES, (None,) * 4)


def answers_to(questions: list[Question]) -> dict[str, set[str]]:
    """All of them mean Nausea, but every fifth none of these."""
    return {q.text: set() if n % 5 == 4 else {"Nausea"} for n, q in enumerate(questions)}


def ask(
    url: str, folder: Path, questions: list[Question], *, key: str = "secret", budget_usd: float = 5.0, **settings: Any
) -> tuple[list[Answer], Governor]:
    """A new client on `folder`'s ledger asks `questions`, under a new governor on the same folder."""
    config = TeacherConfig(**{"model": "m", "budget_usd": budget_usd, "price": PRICE, "timeout_s": 10, **settings})
    governor = Governor(budget_usd, PRICE, folder)
    client = TeacherClient(config, Endpoint(url, key, "MY_KEY", PRICE), Door(governor), Ledger(folder))
    return asyncio.run(client.ask_many(questions, [], seed=1)), governor
