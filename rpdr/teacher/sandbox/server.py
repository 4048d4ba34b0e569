"""The sandbox teacher over HTTP, as an LLM's provider: chat completions, batches, limits, faults on demand, and a meter at /meter.

Started by SandboxTeacher.serve, or alone: see __main__.py.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web

from rpdr.files import sha256
from rpdr.teacher.prompt import SYSTEM_SEVERAL
from rpdr.teacher.sandbox.batches import Batches, error, error_body, shown
from rpdr.teacher.sandbox.meter import prompt_tokens
from rpdr.teacher.sandbox.terms import Faults, Terms

if TYPE_CHECKING:
    from rpdr.teacher.sandbox.teacher import Reply, SandboxTeacher

HERE = "127.0.0.1"
MAX_BODY = 512 * 2**20  # of an uploaded file, above what providers take
STARTS_S = 60.0  # in which it starts, or stops, on the busiest machine
LOOK_S = 0.05  # whether the client of a request that hangs is still there
UNSUPPORTED = {
    "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    "temperature": "Unsupported value: 'temperature' does not support this value with this model. Only the default (1) is supported.",
    "response_format": "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
    "logprobs": "You are not allowed to request logprobs from this model.",
}


class SandboxServer:
    """One teacher behind HTTP. Use it within one event loop."""

    def __init__(self, teacher: SandboxTeacher, faults: Faults, terms: Terms) -> None:
        self.teacher, self.faults, self.terms, self.meter = teacher, faults, terms, teacher.meter
        self._rng = random.Random(sha256(teacher.seed, "faults"))
        self._batches = Batches(self._answer_line, faults, terms, self._rng, self.meter)
        self._allowance, self._allowed_at = max(1.0, terms.requests_per_minute / 60), time.monotonic()
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0, host: str = HERE) -> str:
        """Listen at an address of this machine; the base URL. Where others reach it, its path is a secret: it knows the pool's answers."""
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes(
            [
                web.get("/meter", self._show_meter),
                web.post("/v1/chat/completions", self._chat),
                web.post("/openai/deployments/{model}/chat/completions", self._chat),  # Azure's dated API
                *(route for prefix in ("/v1", "/openai") for route in self._batches.routes(prefix)),
            ]
        )
        app.middlewares.append(self._at_the_door)
        root, prefix = app, ""
        if host != HERE:
            root, prefix = web.Application(client_max_size=MAX_BODY), f"/{secrets.token_urlsafe(16)}"
            root.add_subapp(prefix, app)
        self._runner = web.AppRunner(root, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        return f"http://{host}:{self._runner.addresses[0][1]}{prefix}/v1"

    async def stop(self) -> None:
        """Let go of the port."""
        self._batches.stop()
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _at_the_door(self, request: web.Request, handler: Any) -> web.StreamResponse:
        key = request.headers.get("api-key") or request.headers.get("Authorization", "").removeprefix("Bearer").strip()
        asks = request.path.endswith("/chat/completions")
        self.meter.requests += asks
        if request.path.endswith("/meter"):
            return await self._show_meter(request)
        if key in ("", "wrong"):
            self.meter.refused["401"] += 1
            return error(401, f"Incorrect API key provided: {key}", "invalid_api_key")  # endpoints do repeat keys in their errors
        refused = self._turned_away(asks)
        if refused is not None:
            return refused
        found: web.StreamResponse = await handler(request)
        if not asks and self._rng.random() < self.faults.cut and request.transport is not None:
            request.transport.close()  # what was to be done is done; a question's own faults are _deliver's
        return found

    async def _show_meter(self, request: web.Request) -> web.Response:
        prices = (self.terms.input_usd_per_million, self.terms.output_usd_per_million)
        return shown(self.meter.read(prices, self.terms.batch_discount, "questions" in request.query))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read())
            body.setdefault("model", request.match_info.get("model", ""))
            status, message, code = self._check(body)
        except (ValueError, KeyError, TypeError, AttributeError):
            status, message, code = 400, "We could not parse the JSON body of your request.", None
        if status != 200:
            self.meter.refused[str(status)] += 1
            return error(status, message, code)
        if self.teacher.config.latency_s:
            await asyncio.sleep(self.teacher.config.latency_s)
        return await self._deliver(request, body)

    def _turned_away(self, asks: bool) -> web.Response | None:
        """What is said instead of an answer before a request is read: nothing of it is billed. `asks`: it is a chat request."""
        teacher, faults, draw = self.teacher, self.faults, self._rng.random()
        if asks and not self._within_limit():
            self.meter.refused["requests_per_minute"] += 1
            return _busy(60 / self.terms.requests_per_minute)
        if asks and teacher.rate_limit_first > 0:
            teacher.rate_limit_first -= 1
            self.meter.refused["429"] += 1
            return _busy(0)
        if draw < faults.rate_limited:
            self.meter.refused["429"] += 1
            return _busy(self.terms.retry_after_s)
        fails_first = asks and teacher.fail_first > 0
        if fails_first or draw < faults.rate_limited + faults.server_error:
            status = 503 if fails_first else self._rng.choice((500, 503))
            teacher.fail_first -= fails_first
            self.meter.refused[str(status)] += 1
            return error(status, "The server is overloaded or not ready yet.")
        return None

    def _within_limit(self) -> bool:
        """Requests a minute, of which a second's worth may come at once."""
        if not self.terms.requests_per_minute:
            return True
        now, rate = time.monotonic(), self.terms.requests_per_minute / 60
        self._allowance = min(max(1.0, rate), self._allowance + (now - self._allowed_at) * rate)
        self._allowed_at = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _check(self, body: dict[str, Any]) -> tuple[int, str, str | None]:
        """(200, or what is wrong with a request: HTTP status, message, code)."""
        if self.terms.models and body["model"] not in self.terms.models:
            return 404, f"The model `{body['model']}` does not exist or you do not have access to it.", "model_not_found"
        for name in sorted(self.terms.refuses):
            if body.get(name) is not None and not (name == "temperature" and body[name] == 1):
                return 400, UNSUPPORTED[name], "unsupported_parameter"
        if not isinstance(body["messages"][-1]["content"], str):
            return 400, "Invalid type for 'messages'.", "invalid_type"
        return 200, "", None

    async def _deliver(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        """Work on a question, bill it, and let its answer go out, or not."""
        faults, draw = self.faults, self._rng.random()
        out_of_range = draw < faults.out_of_range
        answer, reply, question = self._work(body, "sync", out_of_range)
        draw -= faults.out_of_range
        for kind in () if out_of_range else ("hang", "cut", "malformed"):
            if draw < getattr(faults, kind):
                self.meter.lost[kind] += 1
                return await _lose(request, kind, json.dumps(answer))
            draw -= getattr(faults, kind)
        if request.transport is None or request.transport.is_closing():
            self.meter.lost["client_gone"] += 1
        elif reply.readable and question:
            self.meter.handed_out(question)
        return shown(answer)

    def _answer_line(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """A line of a batch."""
        status, message, code = self._check(body)
        if status != 200:
            return status, error_body(status, message, code)
        answer, reply, question = self._work(body, "batch", self._rng.random() < self.faults.out_of_range)
        if reply.readable and question:
            self.meter.handed_out(question)
        return 200, answer

    def _work(self, body: dict[str, Any], mode: str, out_of_range: bool) -> tuple[dict[str, Any], Reply, str]:
        """(a chat completion, what it says, the question's hash where questions are counted): billed."""
        message = body["messages"][-1]["content"]
        structured = (body.get("response_format") or {}).get("type") == "json_schema"
        reply = self.teacher.reply(message, structured, out_of_range, body["messages"][0]["content"] == SYSTEM_SEVERAL)
        prompt, completion = prompt_tokens(body), len(reply.tokens) if reply.readable else max(1, len(reply.text) // 4)
        self.meter.bill(mode, prompt, completion)
        question = ""
        if self.terms.count_questions:
            question = sha256(message)[:16]
            self.meter.paid(question)
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": reply.text}, "finish_reason": "stop"}
        if body.get("logprobs"):
            tokens = [{"token": t, "logprob": p, "bytes": list(t.encode()), "top_logprobs": []} for t, p in reply.tokens]
            choice["logprobs"] = {"content": tokens, "refusal": None}
        return (
            {
                "id": f"chatcmpl-{self.meter.requests}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": body["model"],
                "choices": [choice],
                "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
            },
            reply,
            question,
        )


@contextmanager
def serving(teacher: SandboxTeacher, faults: Faults, terms: Terms, port: int = 0, host: str = HERE) -> Iterator[str]:
    """Serve from a thread of this process while in the block; yields the base URL."""
    loop = asyncio.new_event_loop()
    server = SandboxServer(teacher, faults, terms)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(port, host), loop).result(STARTS_S)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(STARTS_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STARTS_S)
        loop.close()


def _busy(retry_after_s: float) -> web.Response:
    headers = {"Retry-After": str(-int(-retry_after_s // 1)), "retry-after-ms": str(int(retry_after_s * 1000))}
    return error(429, "Rate limit reached for requests.", "rate_limit_exceeded", headers)


async def _lose(request: web.Request, kind: str, answer: str) -> web.StreamResponse:
    """The ways in which an answer does not arrive."""
    if kind == "malformed":
        return web.Response(text=answer[: len(answer) // 2], content_type="application/json")
    if kind == "hang":
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(LOOK_S)
        return web.Response()
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(answer))})
    await response.prepare(request)
    await response.write(answer[: len(answer) // 2].encode())
    if request.transport is not None:
        request.transport.close()
    return response
