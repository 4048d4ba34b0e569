"""Asking in batches, against the sandbox's Batch API: nothing paid twice, nothing above the cap, and what ends badly is asked again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from doors import NAMES, PERFECT, PRICE, answers_to, ask, completion, meter, meter_once, question, serve
from pydantic import SecretStr

from rpdr.config import SandboxConfig, TeacherConfig
from rpdr.errors import TeacherError
from rpdr.schema import NIL
from rpdr.teacher import Endpoint, Governor, Ledger, SandboxTeacher
from rpdr.teacher.batch import BatchClient
from rpdr.teacher.client import Answer, TeacherClient
from rpdr.teacher.sandbox import Faults, Terms

Reply = tuple[int, dict[str, Any]] | None
COUNTED = {"input_usd_per_million": PRICE.input_usd_per_million, "output_usd_per_million": PRICE.output_usd_per_million}
RIGHT = [NIL if n % 5 == 4 else NAMES.index("Nausea") for n in range(1000)]


def client_of(
    governor: Governor, url: str, key: str = "secret", tell: Callable[..., None] = lambda *_: None, **settings: Any
) -> BatchClient:
    batch = {"requests": 10, "at_once": 4, "poll_s": 0.02, **settings.pop("batch", {})}
    config = TeacherConfig(**{"model": "m", "price": PRICE, "timeout_s": 10, "mode": "batch", "batch": batch, **settings})
    return BatchClient(TeacherClient(config, Endpoint(url, SecretStr(key), "MY_KEY", PRICE), governor), tell)


def ask_in_batches(
    url: str,
    folder: Path,
    questions: int,
    *,
    budget_usd: float = 5.0,
    during: Callable[[asyncio.Task[Any]], object] | None = None,
    **settings: Any,
) -> list[Answer]:
    """A new client asks under a new governor on `folder`'s ledger. `during` is called once, with its task, when all batches are at the provider's
    and it is told of a first answer."""
    waiting = [during] if during else []

    async def ask_all() -> list[Answer]:
        governor = Governor(budget_usd, PRICE, folder)
        try:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()

            def told(done: int, total: int, doing: str) -> None:
                if waiting and done and total == questions and "in_progress" in doing:
                    loop.call_soon(waiting.pop(), task)

            if during:
                settings["tell"] = told
            client = client_of(governor, url, **settings)
            client.client.health.answered |= during is not None  # or a small batch would come first
            return await client.ask_many([question(n) for n in range(questions)], [], seed=1)
        finally:
            await governor.close()

    return asyncio.run(ask_all())


def teacher_of(questions: int, config: SandboxConfig = PERFECT) -> SandboxTeacher:
    return SandboxTeacher(answers_to([question(n) for n in range(questions)]), config, seed=1)


def states(folder: Path) -> dict[str, int]:
    rows = Ledger(folder).rows().to_pylist()
    return {state: sum(row["state"] == state for row in rows) for state in sorted({row["state"] for row in rows})}


def all_right(answers: list[Answer]) -> bool:
    return [a.choice for a in answers] == RIGHT[: len(answers)] and all(a.valid for a in answers)


def test_a_pool_is_answered_and_in_the_ledger_once_at_half_the_price(tmp_path: Path):
    with teacher_of(35).serve(terms=Terms(**COUNTED)) as url:
        answers = ask_in_batches(url, tmp_path / "batch", 35)
        seen = meter(url)
        ask(url, tmp_path / "sync", [question(n) for n in range(35)])
    assert all_right(answers)
    assert [a.key for a in answers] == [f"key{n}" for n in range(35)]
    assert {(a.source, a.attempts) for a in answers} == {("asked", 1)}
    assert (seen["batch"]["billed"], seen["sync"]["billed"], seen["batches"]) == (35, 0, {"created": 4, "completed": 4})
    assert states(tmp_path / "batch") == {"valid": 35}
    assert Ledger(tmp_path / "batch").spent_usd() == pytest.approx(seen["usd"])
    assert Ledger(tmp_path / "batch").spent_usd() == pytest.approx(Ledger(tmp_path / "sync").spent_usd() / 2)


def test_what_is_known_is_not_asked_again(tmp_path: Path):
    with teacher_of(12).serve(terms=Terms(**COUNTED)) as url:
        ask_in_batches(url, tmp_path, 10)
        answers = ask_in_batches(url, tmp_path, 12)
        assert meter(url)["batch"]["billed"] == 12
    assert [a.source for a in answers] == ["ledger"] * 10 + ["asked"] * 2
    assert all_right(answers)


def test_what_cannot_be_read_is_asked_once_more_then_set_aside(tmp_path: Path):
    with teacher_of(10, SandboxConfig(accuracy=1, invalid_rate=0.999, latency_s=0)).serve() as url:
        assert all_right(ask_in_batches(url, tmp_path / "once", 10))
    with teacher_of(7).serve(Faults(out_of_range=1.0)) as url:
        answers = ask_in_batches(url, tmp_path / "never", 7)
        assert meter(url)["batch"]["billed"] == 14
    assert {(a.valid, a.source) for a in answers} == {(False, "set_aside")}


@pytest.mark.parametrize(
    ("faults", "ends"),
    [
        (Faults(batch_expire=0.7), "expired"),
        (Faults(batch_expire=1.0), "expired"),  # each gets on a little
        (Faults(batch_line_fail=0.3), "completed"),
        (Faults(batch_fail=0.5), "failed"),
        (Faults(batch_expire=0.3, batch_line_fail=0.1, batch_fail=0.2), "completed"),
    ],
)
def test_what_ends_badly_is_asked_again_until_all_is_answered(tmp_path: Path, faults: Faults, ends: str):
    # when it is asked how it does is the machine's affair, and so is chance: it must neither end it nor, with few batches, spare them all
    with teacher_of(60).serve(faults, Terms(**COUNTED, count_questions=True)) as url:
        answers = ask_in_batches(url, tmp_path, 60, max_attempts=25, batch={"requests": 4})
        seen = meter(url)
    assert all_right(answers)
    assert seen["batches"][ends] > 0
    assert seen["questions"]["paid_again_after_an_answer"] == 0
    assert Ledger(tmp_path).spent_usd() == pytest.approx(seen["usd"])


def test_a_provider_whose_batches_all_fail_is_an_error_and_costs_nothing(tmp_path: Path):
    with teacher_of(20).serve(Faults(batch_fail=1.0)) as url, pytest.raises(TeacherError, match=r"does not answer.*server_error"):
        ask_in_batches(url, tmp_path, 20, max_attempts=2)
    assert Ledger(tmp_path).spent_usd() == 0


@pytest.mark.parametrize(("limit", "requests"), [(1_500, 10), (4_000, 20)])  # each of the first batches is too much by itself
def test_a_full_queue_at_the_provider_makes_batches_fewer_and_smaller(tmp_path: Path, limit: int, requests: int):
    with teacher_of(60).serve(terms=Terms(enqueued_token_limit=limit, batch_seconds=0.1)) as url:
        answers = ask_in_batches(url, tmp_path, 60, max_attempts=1, batch={"requests": requests})
        seen = meter(url)
    assert all_right(answers)
    assert seen["batches"]["failed"] > 0
    assert seen["batch"]["billed"] == 60


@pytest.mark.parametrize(
    ("line", "state", "again"),
    [
        ({"response": {"status_code": 400, "body": {"error": {"code": "content_filter"}}}}, "free", "never"),
        ({"response": {"status_code": 400, "body": {"error": {"message": "Could not finish the message because …"}}}}, "invalid", "counts"),
        ({"response": {"status_code": 400, "body": {"error": {"code": "json_validate_failed"}}}}, "invalid", "counts"),
        ({"response": None, "error": "words alone"}, "free", "counts"),
        ({"response": "words alone"}, "free", "counts"),
        ({"response": {"status_code": 200, "body": {"choices": [{"message": None}]}}}, "invalid", "counts"),
        ({"response": {"status_code": 200, "body": {"choices": 1}}}, "invalid", "counts"),
    ],
)
def test_whatever_a_line_holds_its_request_ends(tmp_path: Path, line: dict[str, Any], state: str, again: str):
    async def merged() -> Any:
        governor = Governor(5.0, PRICE, tmp_path)
        client = client_of(governor, "http://127.0.0.1:9/v1")
        [asked] = client.client.prepare([question(0)], [], 1)
        sent = client.client.sent(asked, 1, client.client.dialect.arguments(4), "batch")
        await governor.reserve(sent, "owner")
        return await client._merge(sent, line)

    found = asyncio.run(merged())
    assert (found.counts, found.never) == (True, again == "never")
    assert states(tmp_path) == {state: 1}


def test_a_model_whose_answers_are_all_cut_is_paid_for_a_few_before_the_stage_ends(tmp_path: Path):
    cut = completion("")
    cut["choices"][0]["finish_reason"] = "length"
    sent: list[list[str]] = []
    with pytest.raises(TeacherError, match=r"no answer that can be read \(8 questions.*teacher\.max_output_tokens"):
        one_batch_of(50, tmp_path, lambda _: (200, cut), sent)
    assert [len(batch) for batch in sent] == [8, 8]


def test_after_a_first_answer_batches_are_as_large_as_configured(tmp_path: Path):
    sent: list[list[str]] = []
    one_batch_of(50, tmp_path, lambda n: (200, completion("99" if n < 4 else "1")), sent)
    assert sorted(map(len, sent[1:]))[-4:] == [10] * 4
    assert len(sent[0]) == 8


def test_a_queue_with_no_room_at_all_is_an_error_in_the_end(tmp_path: Path):
    with teacher_of(5).serve(terms=Terms(enqueued_token_limit=10)) as url, pytest.raises(TeacherError, match="enqueued tokens"):
        ask_in_batches(url, tmp_path, 5, patience_s=0.2)
    assert Ledger(tmp_path).spent_usd() == 0


def test_parameters_that_are_refused_are_left_out_and_use_up_no_attempt(tmp_path: Path):
    with teacher_of(5).serve(terms=Terms(refuses=frozenset({"response_format", "temperature", "max_tokens"}))) as url:
        answers = ask_in_batches(url, tmp_path, 5, max_attempts=1)
    assert all_right(answers)


def test_the_cap_holds_by_the_servers_meter_with_many_batches_at_once(tmp_path: Path):
    with teacher_of(200).serve(Faults(batch_line_fail=0.1, out_of_range=0.1), Terms(**COUNTED, batch_seconds=0.05)) as url:
        answers = ask_in_batches(url, tmp_path, 200, budget_usd=0.1, batch={"requests": 7, "at_once": 10})
        seen = meter(url)
    assert {a.source for a in answers} >= {"asked", "refused_by_budget"}
    assert 0.08 < seen["usd"] <= Ledger(tmp_path).spent_usd() + 1e-9
    assert Ledger(tmp_path).spent_usd() <= 0.1
    assert states(tmp_path).get("open", 0) == 0


def test_money_that_a_batch_leaves_over_goes_into_the_next(tmp_path: Path):
    with teacher_of(100).serve(terms=Terms(**COUNTED)) as url:
        ask_in_batches(url, tmp_path / "free", 100)
        price = Ledger(tmp_path / "free").spent_usd()
        answers = ask_in_batches(url, tmp_path / "capped", 100, budget_usd=price * 1.1, batch={"requests": 100})
    assert sum(a.valid for a in answers) == 100


@pytest.mark.parametrize("died", ["before the batch was created", "before its id was noted", "before it was merged", "within the merge"])
def test_a_start_after_a_kill_submits_nothing_twice(tmp_path: Path, died: str):
    script = tmp_path / "ask.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nimport test_batch\ntest_batch.die({died!r})\n")
    terms = Terms(**COUNTED, count_questions=True, batch_seconds=0.2)
    with teacher_of(25).serve(terms=terms) as url:
        environment = {**os.environ, "SANDBOX": url, "LEDGER": str(tmp_path / "ledger")}
        killed = subprocess.run([sys.executable, str(script)], env=environment, timeout=600, cwd=Path(__file__).parents[2], check=False)
        assert killed.returncode == -signal.SIGKILL
        before = meter(url)["batches"].get("created", 0)
        answers = ask_in_batches(url, tmp_path / "ledger", 25)
        seen = meter(url)
    assert all_right(answers)
    assert before == (0 if died.startswith("before the batch") else 1)
    assert seen["batch"]["billed"] == 25
    assert seen["questions"]["paid_again"] == 0
    assert Ledger(tmp_path / "ledger").spent_usd() == pytest.approx(seen["usd"])


def die(where: str) -> None:
    """In a process of its own: ask, and be killed at a place."""

    async def ask_all() -> None:
        governor = Governor(5.0, PRICE, Path(os.environ["LEDGER"]))
        client = client_of(governor, os.environ["SANDBOX"], batch={"requests": 25})
        client.client.health.answered = True  # or a small batch would come first
        places: dict[str, tuple[Any, str, int]] = {
            "before the batch was created": (client.client.openai().batches, "create", 0),
            "before its id was noted": (governor, "note_batch", 0),
            "before it was merged": (client.api, "results", 0),
            "within the merge": (governor, "settle", 10),
        }
        owner, name, after = places[where]
        real: Callable[..., Awaitable[Any]] = getattr(owner, name)
        calls = 0

        async def killed(*args: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > after:
                await asyncio.sleep(0.3)  # what came before is on disk
                os.kill(os.getpid(), signal.SIGKILL)
            return await real(*args, **more)

        setattr(owner, name, killed)
        await client.ask_many([question(n) for n in range(25)], [], seed=1)

    asyncio.run(ask_all())


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own handler, as at a terminal: a job in the background of a script inherits a SIGINT that is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c(_: object) -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(("stop", "raised"), [(press_ctrl_c, KeyboardInterrupt), (asyncio.Task.cancel, asyncio.CancelledError)])
def test_what_is_stopped_is_cancelled_at_the_provider_and_merged_later(
    tmp_path: Path, stop: Callable[[Any], object], raised: type[BaseException]
):
    with teacher_of(200).serve(terms=Terms(**COUNTED, count_questions=True, batch_seconds=60.0)) as url:
        with pytest.raises(raised):
            ask_in_batches(url, tmp_path, 200, during=stop, batch={"requests": 100})
        stopped = meter_once(url, lambda seen: seen["batches"].get("cancelled", 0) == 2)
        assert stopped["batches"] == {"created": 2, "cancelled": 2}
        assert 0 < stopped["batch"]["billed"] < 200
        assert set(states(tmp_path)) == {"open"}
        assert ask_in_batches(url, tmp_path, 0) == []  # a start with nothing to ask merges what there is
    assert states(tmp_path) == {"valid": stopped["batch"]["billed"], "free": 200 - stopped["batch"]["billed"]}
    assert Ledger(tmp_path).spent_usd() == pytest.approx(stopped["usd"])


def test_an_endpoint_without_batches_is_named_with_the_way_out(tmp_path: Path):
    with teacher_of(3).serve() as url, pytest.raises(TeacherError, match=r"takes no batch \(HTTP 404: .*\); see teacher\.mode: sync"):
        ask_in_batches(url + "/nowhere", tmp_path, 3)
    assert states(tmp_path) == {"free": 3}


def test_batches_on_their_way_to_an_endpoint_without_any_give_their_money_back(tmp_path: Path):
    asked: list[str] = []

    def reply(request: str) -> Reply:
        asked.append(request)
        time.sleep(0.0 if len(asked) == 1 else 0.5)
        return 404, {}

    with serve(reply) as url, pytest.raises(TeacherError, match=r"takes no batch \(HTTP 404\)"):
        ask_in_batches(url, tmp_path, 40)
    assert set(states(tmp_path)) == {"free"}


@pytest.mark.parametrize("status", [404, 405, 501])
def test_what_was_left_open_at_an_endpoint_without_batches_never_arrived(tmp_path: Path, status: int):
    reply, _ = provider((408, {}), (503, {}))
    with serve(lambda request: (status, {}) if request == "/v1/batches?limit=100" and given_up else reply(request)) as url:
        given_up = False
        with pytest.raises(TeacherError, match="is found then, and kept"):
            ask_in_batches(url, tmp_path, 3, patience_s=0.1)
        assert states(tmp_path) == {"open": 3}
        given_up = True
        assert ask_in_batches(url, tmp_path, 0, patience_s=5) == []
    assert states(tmp_path) == {"free": 3}


def test_a_refused_key_is_named_and_not_shown(tmp_path: Path):
    with teacher_of(3).serve() as url, pytest.raises(TeacherError, match="refused the key in MY_KEY") as caught:
        ask_in_batches(url, tmp_path, 3, key="wrong")
    assert "wrong" not in str(caught.value)


def test_a_provider_that_is_down_gives_the_money_back(tmp_path: Path):
    with teacher_of(3).serve(Faults(server_error=1.0)) as url, pytest.raises(TeacherError, match="does not answer"):
        ask_in_batches(url, tmp_path, 3, patience_s=0.1)
    assert states(tmp_path) == {"free": 3}  # the file did not arrive, so no batch did


def provider(create: Reply, *looks: Reply) -> tuple[Callable[[str], Reply], list[str]]:
    """(one that takes every file, says `create` to each new batch and `looks` one after another to what is asked of batches, what it was asked)."""
    asked: list[str] = []
    left = list(looks)

    def reply(request: str) -> Reply:
        asked.append(request)
        if "input_file_id" in request:
            return create
        if "/batches" in request:
            return left.pop(0) if len(left) > 1 else left[0]
        return 200, {
            "id": "file-1",
            "object": "file",
            "bytes": 1,
            "created_at": 1,
            "filename": "f",
            "purpose": "batch",
            "status": "processed",
        }

    return reply, asked


@pytest.mark.parametrize("create", [None, (408, {})])
def test_a_batch_that_may_have_arrived_and_cannot_be_looked_for_keeps_its_money(tmp_path: Path, create: Reply):
    reply, _ = provider(create, (404, {}))
    with serve(reply) as url, pytest.raises(TeacherError, match="what has been submitted is found then, and kept"):
        ask_in_batches(url, tmp_path, 3, patience_s=0.1)
    assert states(tmp_path) == {"open": 3}


def test_of_a_batch_that_is_refused_no_file_stays_at_the_provider(tmp_path: Path):
    reply, asked = provider((400, {}))
    with serve(reply) as url, pytest.raises(TeacherError, match="takes no batch"):
        ask_in_batches(url, tmp_path, 3)
    assert [request for request in asked if request.startswith("/")] == ["/v1/files/file-1"]
    assert states(tmp_path) == {"free": 3}


def test_a_look_at_a_batch_that_comes_to_nothing_is_made_again(tmp_path: Path):
    batch = {"id": "batch_1", "object": "batch", "input_file_id": "file-1", "status": "validating"}
    reply, _ = provider((200, batch), (408, {}), (409, {}), (200, {**batch, "status": "failed"}))
    with serve(reply) as url:
        answers = ask_in_batches(url, tmp_path, 3, max_attempts=1)
    assert {(a.source, a.reason) for a in answers} == {("failed", "the batch failed")}
    assert states(tmp_path) == {"free": 3}


def test_a_line_that_repeats_its_question_changes_nothing_that_was_understood(tmp_path: Path):
    sent, answers = one_batch_of(
        4, tmp_path, lambda n: (422, {"detail": "raised body temperature, response_format"}) if n == 2 else (200, completion("1"))
    )
    assert [a.source for a in answers] == ["asked", "asked", "failed", "asked"]
    assert [len(lines) for lines in sent] == [4]


def test_an_account_without_money_is_said_of_lines_too_and_sets_no_mention_aside(tmp_path: Path):
    without = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    with pytest.raises(TeacherError, match=r"no money left \(insufficient_quota\)"):
        one_batch_of(4, tmp_path, lambda n: (429, without) if n > 1 else (200, completion("1")))
    assert states(tmp_path) == {"free": 2, "valid": 2}


@pytest.mark.parametrize("where", ["code", "type"])
def test_an_account_without_money_is_told_as_such_of_a_batch_that_is_not_taken(tmp_path: Path, where: str):
    reply, _ = provider((429, {"error": {"message": "You exceeded your current quota", where: "insufficient_quota"}}), (404, {}))
    with serve(reply) as url, pytest.raises(TeacherError, match=r"no money left \(insufficient_quota\); top it up, and start again"):
        ask_in_batches(url, tmp_path, 3, patience_s=0.1)


def one_batch_of(
    questions: int, folder: Path, said: Callable[[int], Reply], sent: list[list[str]] | None = None
) -> tuple[list[list[str]], list[Answer]]:
    """(the lines of each batch that was sent, also in `sent`; the answers) where a completed batch says this, status and body, of the question at that place."""
    batch = {"id": "batch_1", "object": "batch", "input_file_id": "file-1", "status": "completed", "output_file_id": "file-2"}
    answer, _ = provider((200, batch), (200, batch))
    sent = [] if sent is None else sent

    def reply(request: str) -> Reply | tuple[int, str]:
        if "custom_id" in request:
            sent.append(re.findall(r'"custom_id": "(\w+)"', request))
        if not request.endswith("/content"):
            return answer(request)
        found = [(id, said(n)) for n, id in enumerate(sent[-1])]
        return 200, "\n".join(
            json.dumps({"custom_id": id, "response": {"status_code": end[0], "body": end[1]}}) for id, end in found if end is not None
        )

    with serve(reply) as url:
        return sent, ask_in_batches(url, folder, questions)


@pytest.mark.parametrize(("line", "state"), [('{"custom_id": "cut in', "lost"), ('{"custom_id": ["no id"]}', "lost"), (" ", "free")])
def test_what_expired_and_has_a_line_that_cannot_be_read_may_have_been_served(tmp_path: Path, line: str, state: str):
    batch = {"id": "batch_1", "object": "batch", "input_file_id": "file-1", "status": "expired", "output_file_id": "file-2"}
    reply, _ = provider((200, batch), (200, batch))
    with serve(lambda request: (200, line) if request.endswith("/content") else reply(request)) as url:
        ask_in_batches(url, tmp_path, 3, max_attempts=1)
    assert states(tmp_path) == {state: 3}


def test_a_batch_that_the_provider_does_not_know_counts_at_its_worst_case_and_is_asked_again(tmp_path: Path):
    async def leave_behind(url: str) -> None:
        governor = Governor(5.0, PRICE, tmp_path)
        asked = client_of(governor, url).client
        for n in range(3):
            [prepared] = asked.prepare([question(n)], [], 1)
            sent = asked.sent(prepared, 1, asked.dialect.arguments(len(prepared.options)), "batch")
            await governor.reserve(sent, "owner")
        await governor.note_batch("owner", "batch_of_old", "submitted")
        await governor.close()

    with teacher_of(3).serve(terms=Terms(**COUNTED)) as url:
        asyncio.run(leave_behind(url))
        worst = Ledger(tmp_path).spent_usd()
        answers = ask_in_batches(url, tmp_path, 3)
        billed = meter(url)["usd"]
    assert all_right(answers)
    assert states(tmp_path) == {"lost": 3, "valid": 3}
    assert Ledger(tmp_path).spent_usd() == pytest.approx(worst + billed)


@pytest.mark.usefixtures("ctrl_c")
def test_batches_that_are_open_elsewhere_are_not_lost_sight_of(tmp_path: Path):
    with teacher_of(30).serve(terms=Terms(batch_seconds=20.0)) as url:
        with pytest.raises(KeyboardInterrupt):
            ask_in_batches(url, tmp_path, 30, during=press_ctrl_c, batch={"requests": 30})
        with teacher_of(30).serve() as other, pytest.raises(TeacherError, match=re.escape(url)):
            ask_in_batches(other, tmp_path, 30)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("model", ["another", "sandbox"])
def test_batches_of_another_model_wait_for_its_name_and_are_not_paid_at_this_ones_price(tmp_path: Path, model: str):
    with teacher_of(30).serve(terms=Terms(**COUNTED, batch_seconds=20.0)) as url:
        with pytest.raises(KeyboardInterrupt):
            ask_in_batches(url, tmp_path, 30, during=press_ctrl_c, batch={"requests": 30})
        stopped = meter_once(url, lambda seen: seen["batches"].get("cancelled", 0) == 1)
        with pytest.raises(TeacherError, match=rf"{re.escape(url)}, asked of 'm'; name these in teacher\.base_url and teacher\.model"):
            ask_in_batches(url, tmp_path, 0, model=model)
        assert set(states(tmp_path)) == {"open"}
        ask_in_batches(url, tmp_path, 0)
    assert states(tmp_path)["valid"] == stopped["batch"]["billed"]


@pytest.mark.usefixtures("ctrl_c")
def test_a_rehearsal_that_was_stopped_does_not_stand_in_the_way_of_the_teacher(tmp_path: Path):
    with teacher_of(30).serve(terms=Terms(batch_seconds=20.0)) as url, pytest.raises(KeyboardInterrupt):
        ask_in_batches(url, tmp_path, 30, during=press_ctrl_c, model="sandbox", batch={"requests": 30})
    assert set(states(tmp_path)) == {"open"}
    with teacher_of(3).serve() as url:
        assert all_right(ask_in_batches(url, tmp_path, 3))
    assert states(tmp_path) == {"lost": 30, "valid": 3}
    assert not Ledger(tmp_path).has_open_batches()


def test_a_provider_that_fails_now_and_then_is_asked_again_and_takes_each_batch_once(tmp_path: Path):
    with teacher_of(20).serve(Faults(rate_limited=0.15, server_error=0.15, cut=0.3), Terms(**COUNTED)) as url:
        answers = ask_in_batches(url, tmp_path, 20, batch={"requests": 2})
        seen = meter(url)
    assert all_right(answers)
    assert (seen["batches"]["created"], seen["batch"]["billed"]) == (10, 20)


def test_progress_is_told_in_requests(tmp_path: Path):
    told: list[tuple[int, int, str]] = []
    with teacher_of(30).serve() as url:
        ask_in_batches(url, tmp_path, 30, tell=lambda *what: told.append(what))
    assert told[-1] == (30, 30, "waiting for batches (completed)")  # that it is told while they are at work, `during` needs above


def test_a_line_whose_gateway_lost_patience_may_have_been_served_and_is_asked_again(tmp_path: Path):
    said = iter([(504, {}), (200, completion("1")), (200, completion("1"))])
    sent, answers = one_batch_of(2, tmp_path, lambda _: next(said))
    assert all(a.valid for a in answers)
    assert [len(lines) for lines in sent] == [2, 1]
    assert states(tmp_path) == {"lost": 1, "valid": 2}
