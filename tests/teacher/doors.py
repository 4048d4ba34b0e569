"""What the tests of the client share: questions, and a client with its governor that asks them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from rpdr.config import Price, SandboxConfig, TeacherConfig
from rpdr.teacher import Answer, Endpoint, Governor, Question, TeacherClient

PRICE = Price(input_usd_per_million=10.0, output_usd_per_million=30.0, batch_discount=0.5)
NAMES = ("Vomiting", "Nausea", "Dysphagia", "Fever")
PERFECT = SandboxConfig(accuracy=1.0, invalid_rate=0.0, latency_s=0.0)


def question(n: int) -> Question:
    return Question(f"key{n}", f"phrase {n}", None, None, ("C0", "C1", "C2", "C3"), NAMES, (None,) * 4)


def answers_to(questions: list[Question]) -> dict[str, set[str]]:
    """All of them mean Nausea, but every fifth none of these."""
    return {q.text: set() if n % 5 == 4 else {"Nausea"} for n, q in enumerate(questions)}


def ask(
    url: str, folder: Path, questions: list[Question], *, key: str = "secret", budget_usd: float = 5.0, **settings: Any
) -> tuple[list[Answer], dict[str, Any]]:
    """(answers, the governor's status): a new client asks `questions` under a new governor on `folder`'s ledger."""
    config = TeacherConfig(**{"model": "m", "budget_usd": budget_usd, "price": PRICE, "timeout_s": 10, **settings})

    async def ask_all() -> tuple[list[Answer], dict[str, Any]]:
        governor = Governor(budget_usd, PRICE, folder, config.requests_per_minute, config.tokens_per_minute)
        try:
            answers = await TeacherClient(config, Endpoint(url, SecretStr(key), "MY_KEY", PRICE), governor).ask_many(questions, [], seed=1)
            return answers, await governor.status()
        finally:
            await governor.close()

    return asyncio.run(ask_all())
