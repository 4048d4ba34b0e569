"""The sandbox teacher's Files and Batch API, as OpenAI's: files of request lines in, files of answers and of errors out.

A batch is worked through in its own time, and may expire, fail, or be cancelled half-way. How a line is answered is the server's.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from rpdr.teacher.sandbox.meter import Meter, prompt_tokens
from rpdr.teacher.sandbox.terms import Faults, Terms

URLS = ("/v1/chat/completions", "/chat/completions")  # the second is Azure's
ENDED = {"completed", "failed", "expired", "cancelled"}
LINES_AT_A_TIME = 50  # between two looks at what else there is to do
SERVED_AT_LEAST, SERVED_AT_MOST = 0.2, 0.9  # of a batch that expires


@dataclass
class _Batch:
    """A batch as it is shown, and what is behind it."""

    shown: dict[str, Any]
    lines: list[dict[str, Any]] = field(default_factory=list)
    tokens: int = 0  # of all prompts
    work: asyncio.Task[None] | None = None

    def now(self, status: str, **more: Any) -> None:
        self.shown.update(status=status, **{f"{status}_at": int(time.time())}, **more)


class Batches:
    """`answer_line(body)`: (HTTP status, JSON body) of one request, billed at the batch price where it was served."""

    def __init__(
        self,
        answer_line: Callable[[dict[str, Any]], tuple[int, dict[str, Any]]],
        faults: Faults,
        terms: Terms,
        rng: random.Random,
        meter: Meter,
    ) -> None:
        self._answer_line, self._faults, self._terms, self._rng, self._meter = answer_line, faults, terms, rng, meter
        self._files: dict[str, tuple[dict[str, Any], bytes]] = {}  # packed: their lines repeat each other
        self._batches: dict[str, _Batch] = {}

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Below "/v1", or Azure's "/openai"."""
        return [
            web.post(f"{prefix}/files", self._upload),
            web.get(f"{prefix}/files/{{id}}", self._file),
            web.get(f"{prefix}/files/{{id}}/content", self._content),
            web.delete(f"{prefix}/files/{{id}}", self._delete),
            web.post(f"{prefix}/batches", self._create),
            web.get(f"{prefix}/batches", self._list),
            web.get(f"{prefix}/batches/{{id}}", self._show),
            web.post(f"{prefix}/batches/{{id}}/cancel", self._cancel),
        ]

    def stop(self) -> None:
        """Work on none of them any longer."""
        for batch in self._batches.values():
            if batch.work is not None:
                batch.work.cancel()

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form.get("file")
        if not isinstance(file, web.FileField):
            return error(400, "'file' is a required property", "invalid_request_error")
        return shown(self._keep(file.file.read(), file.filename, str(form.get("purpose", ""))))

    async def _file(self, request: web.Request) -> web.Response:
        found = self._files.get(request.match_info["id"])
        return shown(found[0]) if found else error(404, f"No such File object: {request.match_info['id']}")

    async def _delete(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        gone = self._files.pop(id, None)
        return shown({"id": id, "object": "file", "deleted": True}) if gone else error(404, "No such File object")

    async def _content(self, request: web.Request) -> web.Response:
        found = self._files.get(request.match_info["id"])
        if not found:
            return error(404, f"No such File object: {request.match_info['id']}")
        return web.Response(body=zlib.decompress(found[1]), content_type="application/octet-stream")

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked.get("input_file_id") not in self._files:
            return error(404, f"No such File object: {asked.get('input_file_id')}")
        if asked.get("endpoint") not in URLS or asked.get("completion_window") != "24h":
            return error(400, "Invalid endpoint or completion_window")
        now = int(time.time())
        name = f"batch_{uuid.uuid4().hex}"
        batch = _Batch(
            {
                "id": name,
                "object": "batch",
                "endpoint": asked["endpoint"],
                "errors": None,
                "input_file_id": asked["input_file_id"],
                "completion_window": "24h",
                "status": "validating",
                "output_file_id": None,
                "error_file_id": None,
                "created_at": now,
                "expires_at": now + 24 * 3600,
                "request_counts": {"total": 0, "completed": 0, "failed": 0},
                "metadata": asked.get("metadata"),
            }
        )
        self._batches[name] = batch
        self._meter.batches["created"] += 1
        first_shown = shown(batch.shown)
        batch.work = asyncio.get_running_loop().create_task(self._run(batch))
        return first_shown

    async def _list(self, request: web.Request) -> web.Response:
        newest_first = list(self._batches)[::-1]
        after, limit = request.query.get("after"), max(1, min(100, int(request.query.get("limit", 20))))
        if after is not None and after not in self._batches:
            return error(404, f"No such Batch object: {after}")
        start = newest_first.index(after) + 1 if after else 0
        page = newest_first[start : start + limit]
        return shown(
            {
                "object": "list",
                "data": [self._batches[name].shown for name in page],
                "first_id": page[0] if page else None,
                "last_id": page[-1] if page else None,
                "has_more": start + limit < len(newest_first),
            }
        )

    async def _show(self, request: web.Request) -> web.Response:
        batch = self._batches.get(request.match_info["id"])
        return shown(batch.shown) if batch else error(404, f"No such Batch object: {request.match_info['id']}")

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self._batches.get(request.match_info["id"])
        if not batch:
            return error(404, f"No such Batch object: {request.match_info['id']}")
        status = batch.shown["status"]
        if status in ENDED or status == "finalizing":
            return error(409, f"Cannot cancel a batch with status '{status}'.")
        batch.now("cancelling")
        return shown(batch.shown)

    async def _run(self, batch: _Batch) -> None:
        """A batch from its check to its end."""
        await asyncio.sleep(0)
        wrong = self._check(batch)
        if wrong:
            batch.now("failed", errors={"object": "list", "data": wrong})
            self._meter.batches["failed"] += 1
            return
        batch.shown["request_counts"]["total"] = len(batch.lines)
        if batch.shown["status"] != "cancelling":
            batch.now("in_progress")
        expires = self._rng.random() < self._faults.batch_expire
        stop_at = math.ceil(len(batch.lines) * self._rng.uniform(SERVED_AT_LEAST, SERVED_AT_MOST)) if expires else len(batch.lines)
        out: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        begun = time.monotonic()
        for n, line in enumerate(batch.lines[:stop_at]):
            due = begun + self._terms.batch_seconds * (n + 1) / len(batch.lines)
            while batch.shown["status"] != "cancelling" and (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(min(wait, 0.05))
            if n % LINES_AT_A_TIME == 0:
                await asyncio.sleep(0)
            if batch.shown["status"] == "cancelling":
                break
            self._serve_line(batch, line, out, bad)
        cancelled = batch.shown["status"] == "cancelling"
        if not cancelled and not expires:
            batch.now("finalizing")
            await asyncio.sleep(0)
        code, words = ("batch_cancelled", "The batch was cancelled.") if cancelled else ("batch_expired", "The batch expired.")
        for line in batch.lines[len(out) + len(bad) :]:
            bad.append(self._line(line, None, {"code": code, "message": f"This request was not executed. {words}"}))
        self._end(batch, "cancelled" if cancelled else "expired" if expires else "completed", out, bad)

    def _check(self, batch: _Batch) -> list[dict[str, Any]]:
        """Take up a batch's lines; what is wrong with it."""
        content = zlib.decompress(self._files[batch.shown["input_file_id"]][1])
        wrong = []
        seen: set[str] = set()
        for number, text in enumerate(content.splitlines(), start=1):
            try:
                line = json.loads(text)
                name, messages = line["custom_id"], line["body"]["messages"]
                problem = "duplicate_custom_id" if name in seen else "" if messages else "empty_messages"
                problem = problem or ("" if line["method"] == "POST" and line["url"] in URLS else "invalid_url")
                problem = problem or ("" if line["body"]["model"] == (batch.lines or [line])[0]["body"]["model"] else "mismatched_model")
            except (ValueError, KeyError, TypeError):
                problem, line, name = "invalid_json_line", {}, ""
            if problem:
                wrong.append(_wrong(problem, "This line cannot be used.", number))
            else:
                seen.add(name)
                batch.lines.append(line)
        if not wrong and not batch.lines:
            wrong.append(_wrong("empty_file", "The input file is empty."))
        if not wrong and self._rng.random() < self._faults.batch_fail:
            wrong.append(_wrong("server_error", "The batch could not be checked."))
        if wrong:
            return wrong
        limit = self._terms.enqueued_token_limit
        tokens = sum(prompt_tokens(line["body"]) for line in batch.lines) if limit else 0
        if limit and tokens + sum(b.tokens for b in self._batches.values()) > limit:
            return [_wrong("token_limit_exceeded", f"Enqueued token limit reached: {limit:,} tokens. Please try again later.")]
        batch.tokens = tokens
        return []

    def _serve_line(self, batch: _Batch, line: dict[str, Any], out: list[dict[str, Any]], bad: list[dict[str, Any]]) -> None:
        if self._rng.random() < self._faults.batch_line_fail:
            status = self._rng.choice((500, 503))
            body = error_body(status, "The server had an error.")
        else:
            status, body = self._answer_line(line["body"])
        found = self._line(line, {"status_code": status, "request_id": f"req_{line['custom_id']}", "body": body}, None)
        (out if status == 200 else bad).append(found)
        batch.shown["request_counts"]["completed" if status == 200 else "failed"] += 1

    def _line(self, line: dict[str, Any], response: dict[str, Any] | None, wrong: dict[str, str] | None) -> dict[str, Any]:
        return {"id": f"batch_req_{line['custom_id']}", "custom_id": line["custom_id"], "response": response, "error": wrong}

    def _end(self, batch: _Batch, status: str, out: list[dict[str, Any]], bad: list[dict[str, Any]]) -> None:
        self._rng.shuffle(out)  # no order is promised
        for name, lines in (("output_file_id", out), ("error_file_id", bad)):
            if lines:
                content = "".join(json.dumps(line) + "\n" for line in lines).encode()
                batch.shown[name] = self._keep(content, f"{batch.shown['id']}_{name[:-8]}.jsonl", "batch_output")["id"]
        batch.now(status)
        batch.lines, batch.tokens = [], 0
        self._meter.batches[status] += 1

    def _keep(self, content: bytes, name: str, purpose: str) -> dict[str, Any]:
        file = {
            "id": f"file-{uuid.uuid4().hex}",
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        self._files[str(file["id"])] = (file, zlib.compress(content, 1))
        return file


def shown(value: dict[str, Any]) -> web.Response:
    """JSON, HTTP 200."""
    return web.Response(text=json.dumps(value), content_type="application/json")


def error(status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None) -> web.Response:
    """An error, as the protocol words it."""
    return web.Response(status=status, text=json.dumps(error_body(status, message, code)), headers=headers, content_type="application/json")


def error_body(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Its JSON."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _wrong(code: str, message: str, line: int | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": None, "line": line}
