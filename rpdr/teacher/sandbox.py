"""The sandbox teacher: a real HTTP server that speaks chat-completions, knows a pool's answers, and errs at a set rate.

A simulation for demonstrations and tests: towards near candidates and early positions, now and then unreadable, as LLMs err.
It reads the question only from the request, as a real endpoint would.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import SequenceMatcher

from aiohttp import web

from rpdr.config import SandboxConfig
from rpdr.corpus.normalise import normalise
from rpdr.files import sha256

OPTION = re.compile(r"^(\d+)\. (.*?)(?: — .*)?$", re.MULTILINE)
MENTION = re.compile(r"<mention>(.*?)</mention>", re.DOTALL)


class SandboxTeacher:
    """`answers`: normalised mention text -> the names of its right concepts (empty: none of the knowledge base).

    `fail_first` and `rate_limit_first` answer so many requests with 503 and 429 before they serve, for tests of retries.
    """

    def __init__(
        self, answers: Mapping[str, Collection[str]], config: SandboxConfig, seed: int, fail_first: int = 0, rate_limit_first: int = 0
    ) -> None:
        self.answers, self.config, self.seed = answers, config, seed
        self.fail_first, self.rate_limit_first = fail_first, rate_limit_first
        self.requests = 0
        self._attempts: dict[str, int] = {}

    def answer(self, user_message: str) -> str:
        """What it answers to the last message of a chat."""
        found = MENTION.search(user_message)
        text = normalise(found.group(1)) if found else ""
        options = {int(n): name for n, name in OPTION.findall(user_message) if n != "0"}
        attempt = self._attempts[text] = self._attempts.get(text, 0) + 1
        rng = random.Random(sha256(self.seed, text))
        errs, unreadable = rng.random() >= self.config.accuracy, rng.random() < self.config.invalid_rate
        if unreadable and attempt == 1:
            return rng.choice(["I am not sure which of these concepts is meant.", "99", "It could be 1 or 2."])
        truth = self.answers.get(text)
        if truth is None:  # not of the pool: guess by the words
            return str(max(options, key=lambda n: _similarity(options[n], text), default=0))
        right = next((n for n, name in sorted(options.items()) if name in truth), 0)
        if not errs:
            return str(right)
        wrong = [n for n in [*options, 0] if n != right]
        near = list(truth) or [text]
        weights = [math.exp(6 * max(_similarity(options.get(n, ""), t) for t in near) - 0.15 * n) if n else 0.5 for n in wrong]
        return str(rng.choices(wrong, weights)[0]) if wrong else str(right)

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve on a free port of this machine while in the block; yields the base URL."""
        loop = asyncio.new_event_loop()
        ready: list[str] = []
        started = threading.Event()

        async def start() -> web.AppRunner:
            app = web.Application()
            app.router.add_post("/v1/chat/completions", self._handle)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            ready.append(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
            started.set()
            return runner

        def run() -> None:
            asyncio.set_event_loop(loop)
            runner = loop.run_until_complete(start())
            loop.run_forever()
            loop.run_until_complete(runner.cleanup())

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        started.wait(10)
        try:
            yield ready[0]
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(5)

    async def _handle(self, request: web.Request) -> web.Response:
        self.requests += 1
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if key in ("", "wrong"):
            return _error(401, f"Incorrect API key provided: {key}")  # endpoints do repeat keys in their errors
        if self.rate_limit_first > 0:
            self.rate_limit_first -= 1
            return _error(429, "rate limited", {"Retry-After": "0"})
        if self.fail_first > 0:
            self.fail_first -= 1
            return _error(503, "overloaded")
        body = await request.json()
        await asyncio.sleep(self.config.latency_s)
        text = self.answer(body["messages"][-1]["content"])
        prompt, completion = sum(len(m["content"]) // 4 + 4 for m in body["messages"]), max(1, len(text) // 4)
        return web.json_response(
            {
                "id": f"chatcmpl-{self.requests}",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
            }
        )


def _similarity(a: str, b: str) -> float:
    return SequenceMatcher(None, a.casefold(), b.casefold()).ratio()


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=json.dumps({"error": {"message": message}}), headers=headers, content_type="application/json")
