"""What the tests of the client share: questions, a client with its governor that asks them, and servers that answer as they are told."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from rpdr.config import Price, SandboxConfig, TeacherConfig
from rpdr.teacher import Endpoint, Governor, Question
from rpdr.teacher.client import Answer, TeacherClient

PRICE = Price(input_usd_per_million=10.0, output_usd_per_million=30.0, batch_discount=0.5)
NAMES = ("Vomiting", "Nausea", "Dysphagia", "Fever")
PERFECT = SandboxConfig(accuracy=1.0, invalid_rate=0.0, latency_s=0.0)
PATIENCE = 60.0  # seconds until what must come counts as missing


def question(n: int) -> Question:
    return Question(f"key{n}", f"phrase {n}", None, None, ("C0", "C1", "C2", "C3"), NAMES, (None,) * 4)


def answers_to(questions: list[Question]) -> dict[str, set[str]]:
    """All of them mean Nausea, but every fifth none of these."""
    return {q.text: set() if n % 5 == 4 else {"Nausea"} for n, q in enumerate(questions)}


def meter(url: str, query: str = "") -> dict[str, Any]:
    """What a sandbox counts."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/meter" + query) as response:
        return json.loads(response.read())


def meter_once(url: str, there: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """`meter` when something is true of it."""
    until = time.monotonic() + PATIENCE
    while not there(seen := meter(url)):
        assert time.monotonic() < until, seen
        time.sleep(0.02)
    return seen


def ask(
    url: str, folder: Path, questions: list[Question], *, key: str = "secret", budget_usd: float = 5.0, **settings: Any
) -> tuple[list[Answer], dict[str, Any]]:
    """(answers, the governor's status): a new client asks `questions` under a new governor on `folder`'s ledger."""
    config = TeacherConfig(**{"model": "m", "budget_usd": budget_usd, "price": PRICE, "timeout_s": 10, **settings})

    async def ask_all() -> tuple[list[Answer], dict[str, Any]]:
        governor = Governor(budget_usd, config.price or PRICE, folder, config.requests_per_minute, config.tokens_per_minute)
        try:
            answers = await TeacherClient(config, Endpoint(url, SecretStr(key), "MY_KEY", PRICE), governor).ask_many(questions, [], seed=1)
            return answers, await governor.status()
        finally:
            await governor.close()

    return asyncio.run(ask_all())


@contextmanager
def serve(reply: Callable[[str], tuple | None]) -> Iterator[str]:
    """A server that answers each request body, or the path where there is none, with a status, a body (JSON, or text as it stands) and headers;
    None cuts the connection."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found = reply(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode() or self.path)
            if found is None:
                self.connection.close()
                return
            status, answer, headers = (*found, {})[:3]
            body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_DELETE = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def completion(text: str) -> dict:
    """A chat completion that answers `text`."""
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
    }


def serve_status(status: int, message: str) -> AbstractContextManager[str]:
    """A server that answers every request with one status and message."""
    return serve(lambda _: (status, {"error": {"message": message}}))
