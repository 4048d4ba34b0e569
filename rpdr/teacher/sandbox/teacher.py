"""The sandbox teacher: a simulated LLM that knows a pool's answers and errs at a set rate, for demonstrations, tests and benchmarks.

How it answers and errs: towards near candidates and early positions, at times by a belief that no other order of the options mends,
now and then unreadably. It reads the question only from the request. How it is served over HTTP is server.py's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from rpdr.config import SandboxConfig
from rpdr.corpus.normalise import normalise
from rpdr.files import sha256
from rpdr.teacher.sandbox.meter import Meter
from rpdr.teacher.sandbox.terms import NO_FAULTS, PLAIN_TERMS, Faults, Terms

OPTION = re.compile(r"^(\d+)\. (.*?)(?: — .*)?$", re.MULTILINE)
MENTION = re.compile(r"<mention>(.*?)</mention>", re.DOTALL)
UNREADABLE = ("I am not sure which of these concepts is meant.", "99", "It could be 1 or 2.")
UNREADABLE_JSON = ("I'm sorry, but I can't help with that.", '{"choice": "99"}', '{"choice":')  # a refusal; out of range; cut short
NEARNESS, POSITION = 6.0, 0.15  # what draws errors: likeness of a name to the right one, and a place near the top


@dataclass(frozen=True)
class Reply:
    """What it says; `tokens` with their log-probabilities. `readable`: whether it names an option."""

    text: str
    readable: bool
    tokens: Sequence[tuple[str, float]]


class SandboxTeacher:
    """`answers`: normalised mention text -> the names of its right concepts (empty: none of the knowledge base).

    `fail_first` and `rate_limit_first` answer so many requests with 503 and 429 before they serve, for tests of retries.
    """

    def __init__(
        self, answers: Mapping[str, Collection[str]], config: SandboxConfig, seed: int, fail_first: int = 0, rate_limit_first: int = 0
    ) -> None:
        self.answers, self.config, self.seed = answers, config, seed
        self.fail_first, self.rate_limit_first = fail_first, rate_limit_first
        self.meter = Meter()
        self._unread: set[int] = set()  # hashes of the messages that were once answered unreadably: few, so memory stays flat

    @contextmanager
    def serve(self, faults: Faults = NO_FAULTS, terms: Terms = PLAIN_TERMS, port: int = 0, host: str = "127.0.0.1") -> Iterator[str]:
        """Serve on a port of this machine (0: a free one), at this address of it, while in the block; yields the base URL."""
        from rpdr.teacher.sandbox.server import serving  # who only asks needs no HTTP server

        with serving(self, faults, terms, port, host) as url:
            yield url

    def reply(self, user_message: str, structured: bool = False, out_of_range: bool = False, several: bool = False) -> Reply:
        """What it says to the last message of a chat: the same to the same one whenever it is asked; but what cannot be read is said the first time
        alone. `several`: it is asked for all concepts that the mention names, of which it leaves further ones out as often as it errs."""
        found = MENTION.search(user_message)
        text = normalise(found.group(1)) if found else ""
        names = {int(n): name for n, name in OPTION.findall(user_message) if n != "0"}
        draws = _draws(self.seed, "order", text, *names.values())
        if out_of_range:
            return _reply("99", structured, draws[3], readable=False)
        if _draws(self.seed, "unreadable", user_message)[0] < self.config.invalid_rate:
            message = int(sha256(user_message.encode())[:16], 16)
            if message not in self._unread:
                self._unread.add(message)
                words = (UNREADABLE_JSON if structured else UNREADABLE)[int(draws[2] * 3)]
                return Reply(words, False, [(words, math.log(0.5))])
        truth = self.answers.get(text)
        if truth is None:  # not of the pool: guess by the words
            guess, sure = max(names, key=lambda n: _likeness(names[n], text), default=0), 1 - 0.8 * draws[3]
            return _reply_of_several([guess], structured, sure) if several else _reply(str(guess), structured, sure)
        right = next((n for n, name in sorted(names.items()) if name in truth), 0)
        choice = self._choose(text, names, right, list(truth) or [text], draws)
        if several:
            further = [n for n, name in sorted(names.items()) if name in truth and n not in (right, choice)]
            also = [n for n in further if choice and _draws(self.seed, "also", text, names[n])[0] < self.config.accuracy]
            return _reply_of_several(sorted([choice, *also]), structured, 1 - 0.6 * draws[3])
        # right answers are surer on the average, and some wrong ones as sure as any
        return _reply(str(choice), structured, 1 - 0.6 * draws[3] ** 3 if choice == right else 1 - 0.8 * draws[3])

    def _choose(self, text: str, names: Mapping[int, str], right: int, near: Sequence[str], draws: Sequence[float]) -> int:
        """The right option or a wrong one: by a wrong belief about the mention, or led astray by this order of the options."""
        wrong = [n for n in (*names, 0) if n != right]
        errors, stable = 1 - self.config.accuracy, self.config.stable_errors
        believes_wrongly = _draws(self.seed, "belief", text)[0] < errors * stable
        # of the mentions without such a belief, as many as make up the rate
        led_astray = draws[0] < errors * (1 - stable) / (1 - errors * stable)
        if not wrong or not (believes_wrongly or led_astray):
            return right
        pull = {n: NEARNESS * max(_likeness(names[n], name) for name in near) if n else math.log(0.5) for n in wrong}
        if believes_wrongly:  # the Gumbel-max trick: drawn with the weights exp(pull), and in any order the same
            return max(wrong, key=lambda n: (pull[n] - math.log(-math.log(_draws(self.seed, "wrong", text, names.get(n, ""))[0])), -n))
        weights = [math.exp(pull[n] - POSITION * n) for n in wrong]
        left = draws[1] * sum(weights)
        for n, weight in zip(wrong, weights, strict=True):
            left -= weight
            if left < 0:
                return n
        return wrong[-1]


def _reply(number: str, structured: bool, sure: float, readable: bool = True) -> Reply:
    told = (number, math.log(max(sure, 1e-6)))
    if not structured:
        return Reply(number, readable, [told])
    frame = [(token, -1e-6) for token in ('{"', "choice", '":', ' "', '"}')]  # the schema leaves nothing else to say
    return Reply(json.dumps({"choice": number}), readable, [*frame[:4], told, frame[4]])


def _reply_of_several(numbers: Sequence[int], structured: bool, sure: float) -> Reply:
    text = json.dumps({"choices": [str(n) for n in numbers]}) if structured else ", ".join(map(str, numbers))
    told = math.log(max(sure, 1e-6)) / len(numbers)
    return Reply(text, True, [(token, told if token.isdecimal() else -1e-6) for token in re.findall(r"\w+|\W+", text)])


def _draws(*parts: object) -> list[float]:
    """Four numbers in (0, 1), the same for the same parts."""
    digest = sha256("\0".join(map(str, parts)).encode())
    return [(int(digest[n : n + 12], 16) + 0.5) / 16**12 for n in (0, 12, 24, 36)]


def _likeness(a: str, b: str) -> float:
    """The share of letter pairs that two names have in common, in [0, 1]."""
    one, other = _pairs(a), _pairs(b)
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else 0.0


@lru_cache(10_000)
def _pairs(name: str) -> frozenset[str]:
    padded = f" {name.casefold()} "
    return frozenset(padded[n : n + 2] for n in range(len(padded) - 1))
