"""A provider's Batch API, below the asking: test_batch has the rest, against the sandbox's."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from doors import PRICE
from pydantic import SecretStr

from rpdr.config import TeacherConfig
from rpdr.teacher import Endpoint, Governor
from rpdr.teacher.batch_api import BatchApi, NotTaken
from rpdr.teacher.client import TeacherClient


@pytest.mark.parametrize(
    ("looks", "patience_s", "told"),
    [
        (["pending", "Running", "processed"], 60, ""),
        (["uploaded"], 60, ""),
        (["pending", "error"], 60, "no JSON Lines"),
        (["pending"] * 99, 0.01, "it is pending"),
    ],
    ids=["is looked through", "at once", "is refused", "never"],
)
def test_a_file_is_waited_for_until_a_batch_can_be_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: list[str], patience_s: float, told: str
):
    """As Azure's must be."""
    seen, deleted = iter(looks), list[str]()

    async def look(*_: Any, **__: Any) -> Any:
        status = next(seen)
        return SimpleNamespace(id="f1", status=status, status_details="no JSON Lines" if status == "error" else None)

    async def delete(file: str) -> None:
        deleted.append(file)

    async def upload() -> str:
        governor = Governor(1.0, PRICE, tmp_path)
        config = TeacherConfig(model="m", price=PRICE, patience_s=patience_s, batch={"poll_s": 0.02})
        client = TeacherClient(config, Endpoint("http://127.0.0.1:9/v1", SecretStr("secret"), "MY_KEY", PRICE), governor)
        monkeypatch.setattr(client, "openai", lambda: SimpleNamespace(files=SimpleNamespace(create=look, retrieve=look, delete=delete)))
        try:
            return await BatchApi(client, lambda *_: None).upload("mark", b"{}")
        finally:
            await governor.close()

    with pytest.raises(NotTaken, match=told) if told else nullcontext():
        assert asyncio.run(upload()) == "f1"
    assert deleted == (["f1"] if told else [])
