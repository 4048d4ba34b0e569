"""The governor over many askers, starts, crashes and jobs at once: the cap, the limits, and no question paid for twice."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rpdr.config import Price
from rpdr.errors import RunError
from rpdr.teacher import Governor, Ledger
from rpdr.teacher.governor import Grant
from rpdr.teacher.ledger import FILE, INVALID, VALID, Ended, Sent

DOLLAR_A_TOKEN = Price(input_usd_per_million=1e6, output_usd_per_million=1e6)


def sent(id: str, question: str = "", key: str = "", prompt: int = 1, output: int = 0, mode: str = "sync") -> Sent:
    return Sent(
        id, question or f"q-{id}", key or f"k-{id}", 1, "m", "http://x", "{}", "[]", '{"role": "user"}', "[]", prompt, output, mode=mode
    )


def valid(id: str, prompt: int = 1, output: int = 0) -> Ended:
    return Ended(id, VALID, prompt, output, "1", "C1")


def run(folder: Path, work: Callable[[Governor], Coroutine[Any, Any, Any]], budget: float = 10.0, **limits: Any) -> Any:
    """What `work` returns, done with a new governor on `folder`, as a start of a job would."""

    async def start() -> Any:
        governor = Governor(budget, DOLLAR_A_TOKEN, folder, **limits)
        try:
            return await work(governor)
        finally:
            await governor.close()

    return asyncio.run(start())


def let_through(folder: Path) -> list[float]:
    """When each request was, by the ledger, in seconds after the first: when its asker heard of it is the machine's affair too."""
    at = sorted(row["asked_at"] for row in Ledger(folder).rows().to_pylist())
    return [(one - at[0]).total_seconds() for one in at]


def test_a_rehearsals_dollars_are_none_of_a_paid_runs_cap_nor_the_other_way_round(tmp_path: Path):
    def paying(name: str, dollars: int) -> Callable[[Governor], Coroutine[Any, Any, Any]]:
        async def work(governor: Governor) -> Any:
            request = replace(sent(name, prompt=dollars), model="sandbox" if governor.simulated else "m")
            if (granted := await governor.reserve(request)).verdict == "go":
                await governor.settle(request, valid(name, dollars))
            return granted.verdict, (await governor.status())["spent_usd"]

        return work

    assert run(tmp_path, paying("a", 8), simulated=True) == ("go", 8)
    assert run(tmp_path, paying("b", 7), simulated=False) == ("go", 7)
    assert run(tmp_path, paying("c", 4), simulated=False) == ("no_money", 7)
    assert run(tmp_path, paying("d", 2), simulated=True) == ("go", 10)
    ledger = Ledger(tmp_path)
    assert run(tmp_path, paying("e", 1)) == ("no_money", 17)  # where nobody says whose they are, all count
    assert (ledger.spent_usd(simulated=True), ledger.spent_usd(simulated=False), ledger.spent_usd()) == (10, 7, 17)
    assert [[row["usd"] for row in ledger.account(simulated)] for simulated in (True, False, None)] == [[10], [7], [17]]


def crash(folder: Path, *requests: Sent) -> None:
    """Another process reserves these and is gone, as by SIGKILL."""

    def die() -> None:
        async def work(governor: Governor) -> None:
            for request in requests:
                assert (await governor.reserve(request)).verdict == "go"
            os._exit(9)

        run(folder, work)

    process = multiprocessing.get_context("fork").Process(target=die)
    process.start()
    process.join()
    assert process.exitcode == 9


def test_a_reservation_is_granted_up_to_the_budget_and_not_over(tmp_path: Path):
    async def work(governor: Governor) -> list[str]:
        first = await governor.reserve(sent("a", prompt=6, output=4))
        await governor.settle(sent("a", prompt=6, output=4), valid("a", 6, 4))
        return [first.verdict, (await governor.reserve(sent("b"))).verdict]

    assert run(tmp_path, work) == ["go", "no_money"]


def test_settling_replaces_the_worst_case_by_what_was_used(tmp_path: Path):
    async def work(governor: Governor) -> tuple[float, dict[str, Any], Grant]:
        await governor.reserve(sent("a", prompt=6, output=4))
        price = await governor.settle(sent("a", prompt=6, output=4), valid("a", 2, 1))
        return price, await governor.status(), await governor.reserve(sent("b", prompt=7))

    price, status, grant = run(tmp_path, work)
    assert price == status["spent_usd"] == 3
    assert status["reserved_usd"] == 0
    assert grant.verdict == "go"


def test_a_release_gives_the_whole_reservation_back(tmp_path: Path):
    async def work(governor: Governor) -> str:
        await governor.reserve(sent("a", prompt=10))
        await governor.release("a", "HTTP 503")
        return (await governor.reserve(sent("b", prompt=10))).verdict

    assert run(tmp_path, work) == "go"


def test_what_was_written_off_stays_counted(tmp_path: Path):
    async def work(governor: Governor) -> str:
        await governor.reserve(sent("a", prompt=10))
        await governor.write_off("a", "timed out")
        return (await governor.reserve(sent("b"))).verdict

    assert run(tmp_path, work) == "no_money"
    assert Ledger(tmp_path).rows().to_pylist()[0]["reason"] == "timed out"


def test_the_first_end_of_a_request_stands(tmp_path: Path):
    async def work(governor: Governor) -> float:
        await governor.reserve(sent("a", prompt=5))
        await governor.settle(sent("a"), valid("a", 4))
        await governor.settle(sent("a"), valid("a", 4))
        await governor.release("a", "late")
        return (await governor.status())["spent_usd"]

    assert run(tmp_path, work) == 4


def test_one_who_holds_more_than_it_will_use_is_waited_for(tmp_path: Path):
    async def work(governor: Governor) -> str:
        await governor.reserve(sent("a", prompt=9))
        second = asyncio.create_task(governor.reserve(sent("b", prompt=5)))
        await asyncio.sleep(0.3)
        assert not second.done()
        await governor.settle(sent("a"), valid("a", 1))
        return (await second).verdict

    assert run(tmp_path, work) == "go"


def test_what_was_in_flight_at_a_crash_stays_counted_at_its_worst_case(tmp_path: Path):
    crash(tmp_path, sent("a", prompt=4, output=2))

    async def work(governor: Governor) -> list[str]:
        return [(await governor.reserve(sent("b", prompt=5))).verdict, (await governor.reserve(sent("c", prompt=4))).verdict]

    assert run(tmp_path, work) == ["no_money", "go"]
    assert Ledger(tmp_path).spent_usd() == 10


def test_the_budget_of_a_later_start_counts_what_earlier_ones_spent(tmp_path: Path):
    async def spend(governor: Governor) -> str:
        grant = await governor.reserve(sent(f"r{time.time()}", prompt=4))
        return grant.verdict

    assert [run(tmp_path, spend) for _ in range(3)] == ["go", "go", "no_money"]
    assert run(tmp_path, spend, budget=12.0) == "go"


def test_an_answered_question_is_known_to_every_later_start(tmp_path: Path):
    async def answer(governor: Governor) -> None:
        await governor.reserve(sent("a", "q"))
        await governor.settle(sent("a", "q"), valid("a"))

    async def again(governor: Governor) -> tuple[Grant, dict[str, Any]]:
        return await governor.reserve(sent("b", "q")), await governor.known(["q", "other"])

    run(tmp_path, answer)
    grant, known = run(tmp_path, again)
    assert grant.verdict == "known"
    assert grant.known == known["q"]
    assert known["q"].choice_id == "C1"
    assert list(known) == ["q"]


def test_a_question_is_set_aside_after_two_answers_that_cannot_be_read(tmp_path: Path):
    async def work(governor: Governor) -> list[bool]:
        found = []
        for id in ("a", "b"):
            await governor.reserve(sent(id, "q"))
            await governor.settle(sent(id, "q"), Ended(id, INVALID, 1, 1, "no idea", reason="not an option"))
            found.append("q" in await governor.known(["q"]))
        return found

    assert run(tmp_path, work) == [False, True]
    assert not Ledger(tmp_path).known(["q"])["q"].valid


def test_two_jobs_that_ask_the_same_pay_once(tmp_path: Path):
    async def both() -> list[Grant]:
        one, two = (Governor(10.0, DOLLAR_A_TOKEN, tmp_path) for _ in range(2))
        first = await one.reserve(sent("a", "q", "k"))
        waiting = asyncio.create_task(two.reserve(sent("b", "q", "k")))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await one.settle(sent("a", "q", "k"), valid("a"))
        second = await waiting
        await one.close()
        await two.close()
        return [first, second]

    assert [grant.verdict for grant in asyncio.run(both())] == ["go", "known"]
    assert Ledger(tmp_path).spent_usd() == 1


def test_a_question_whose_asker_was_killed_is_asked_again(tmp_path: Path):
    crash(tmp_path, sent("a", "q", "k"))

    async def work(governor: Governor) -> str:
        return (await governor.reserve(sent("b", "q", "k"))).verdict

    before = time.monotonic()
    assert run(tmp_path, work) == "go"
    assert time.monotonic() - before < 30  # and not at the end of patience, which is a minute


def test_a_question_whose_asker_lives_but_is_silent_is_asked_again_when_patience_ends(tmp_path: Path):
    async def both() -> tuple[str, float]:
        one, two = Governor(10.0, DOLLAR_A_TOKEN, tmp_path), Governor(10.0, DOLLAR_A_TOKEN, tmp_path, patience_s=0.3)
        await one.reserve(sent("a", "q", "k"))
        before = time.monotonic()
        second = await asyncio.wait_for(two.reserve(sent("b", "q", "k")), 10)
        waited = time.monotonic() - before
        await one.close()
        await two.close()
        return second.verdict, waited

    verdict, waited = asyncio.run(both())
    assert verdict == "go"
    assert waited > 0.2


def test_a_question_that_is_at_the_providers_in_a_batch_is_not_asked_again_however_long_it_takes(tmp_path: Path):
    crash(tmp_path, sent("a", "q", "k", mode="batch"))

    async def work(governor: Governor) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(governor.reserve(sent("b", "q", "k")), 0.5)

    run(tmp_path, work, patience_s=0.1)
    assert Ledger(tmp_path).rows().num_rows == 1


def test_what_a_batch_holds_is_not_waited_for(tmp_path: Path):
    async def work(governor: Governor) -> str:
        await governor.reserve(sent("a", prompt=9, mode="batch"))
        return (await asyncio.wait_for(governor.reserve(sent("b", prompt=5)), 10)).verdict

    assert run(tmp_path, work) == "no_money"


def test_an_actor_that_was_replaced_may_ask_again_at_once(tmp_path: Path):
    async def work(governor: Governor) -> str:
        await governor.reserve(sent("a", "q", "k"))
        return (await governor.reserve(sent("b", "q", "k"))).verdict

    assert run(tmp_path, work) == "go"
    assert [row["state"] for row in Ledger(tmp_path).rows().to_pylist()] == ["lost", "open"]


def test_a_request_that_is_granted_twice_is_kept_once(tmp_path: Path):
    async def work(governor: Governor) -> list[str]:
        return [(await governor.reserve(sent("a"))).verdict for _ in range(2)]  # as when the governor's answer was lost

    assert run(tmp_path, work) == ["go", "go"]
    assert Ledger(tmp_path).rows().num_rows == 1


def _spend(folder: Path, name: str) -> None:
    async def work(governor: Governor) -> None:
        async def one(n: int) -> None:
            request = sent(f"{name}-{n}", prompt=2)
            if (await governor.reserve(request)).verdict == "go":
                await asyncio.sleep(0.001)
                await governor.settle(request, valid(request.id, 1))

        await asyncio.gather(*(one(n) for n in range(60)))

    run(folder, work, budget=100.0)


def test_the_cap_holds_over_processes(tmp_path: Path):
    jobs = [multiprocessing.get_context("fork").Process(target=_spend, args=(tmp_path, f"job{n}")) for n in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    assert 98 <= Ledger(tmp_path).spent_usd() <= 100


def test_requests_leave_no_faster_than_the_limit(tmp_path: Path):
    async def work(governor: Governor) -> None:
        await asyncio.gather(*(governor.reserve(sent(str(n), prompt=0)) for n in range(60)))

    run(tmp_path, work, requests_per_minute=1200)  # 20 a second, of which one second's worth may leave at once
    times = let_through(tmp_path)
    assert 1.8 <= times[-1] <= 10
    for start in range(len(times) - 41):
        assert times[start + 41] - times[start] >= 0.95


def test_tokens_are_charged_by_what_was_used(tmp_path: Path):
    async def work(governor: Governor) -> None:
        for n in range(4):
            request = sent(str(n), prompt=0)
            await governor.reserve(request)
            await governor.settle(request, Ended(request.id, VALID, 0, 0))
        big = sent("big", prompt=0)
        await governor.reserve(big)
        await governor.settle(big, Ended(big.id, VALID, 150, 0))
        await governor.reserve(sent("after", prompt=0))

    run(tmp_path, work, budget=1e6, tokens_per_minute=6000)
    *_, big, after = let_through(tmp_path)
    assert 0.5 <= after - big <= 2.0


def test_a_limit_is_not_forgotten_by_a_new_start(tmp_path: Path):
    async def burst(governor: Governor) -> None:
        await asyncio.gather(*(governor.reserve(sent(f"{governor.owner}-{n}", prompt=0)) for n in range(20)))

    for _ in range(2):
        run(tmp_path, burst, requests_per_minute=1200)
    assert let_through(tmp_path)[39] > 0.9  # a second's worth of requests after the first burst


def test_after_a_429_nothing_leaves_until_the_pool_has_cooled(tmp_path: Path):
    async def work(governor: Governor) -> list[float]:
        before = time.monotonic()
        await governor.cool(0.5)
        await asyncio.gather(*(governor.reserve(sent(str(n))) for n in range(3)))
        return [time.monotonic() - before]

    assert 0.5 <= run(tmp_path, work)[0] <= 10


def test_a_429_holds_back_what_already_waits_for_its_slot(tmp_path: Path):
    async def work(governor: Governor) -> None:
        waiting = asyncio.gather(*(governor.reserve(sent(str(n), prompt=0)) for n in range(3)))
        await asyncio.sleep(0.2)
        await governor.cool(1.5)
        await waiting

    run(tmp_path, work, requests_per_minute=60)  # two leave at once, the third a second later
    assert let_through(tmp_path)[2] >= 1.5


def unwritable(id: str) -> Ended:
    return replace(valid(id), choice_id="\ud800")  # half a character: no text that SQLite takes


def test_an_answer_that_cannot_be_kept_fails_none_that_shares_its_transaction(tmp_path: Path):
    async def work(governor: Governor) -> list[Any]:
        for id in "abc":
            await governor.reserve(sent(id))
        ends = (valid("a"), unwritable("b"), valid("c"))
        return await asyncio.gather(*(governor.settle(sent(end.id), end) for end in ends), return_exceptions=True)

    first, error, last = run(tmp_path, work)
    assert (first, type(error), last) == (1, UnicodeEncodeError, 1)
    assert [row["state"] for row in Ledger(tmp_path).rows().to_pylist()] == ["valid", "open", "valid"]


def test_what_was_reserved_in_a_transaction_that_is_done_again_is_counted_once(tmp_path: Path):
    async def work(governor: Governor) -> list[str]:
        asked = [governor.reserve(sent("a", prompt=5)), governor.reserve(sent("b", prompt=4))]
        one, two, _ = await asyncio.wait_for(
            asyncio.gather(*asked, governor.settle(sent("c"), unwritable("c")), return_exceptions=True), 10
        )
        return [one.verdict, two.verdict]

    assert run(tmp_path, work, budget=9.0) == ["go", "go"]


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path):
    (tmp_path / FILE).write_bytes(b"not a database at all" * 100)
    with pytest.raises(RunError, match=FILE):
        Governor(1.0, DOLLAR_A_TOKEN, tmp_path)
