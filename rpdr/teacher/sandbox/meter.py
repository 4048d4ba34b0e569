"""What the sandbox teacher counts: tokens about as a tokenizer counts them, requests by what became of them, and dollars.

The meter bills all that the model worked for, also where the answer was lost on its way: what a client's ledger is measured by.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

# as the pre-tokenizers of GPT models: a word with what stands before it, digits by three, punctuation, white space
PIECE = re.compile(r"[^\w\r\n]?[^\W\d_]+|\d{1,3}|[^\w\s]+|[\s_]+")
LONG = re.compile(r"[^\W\d_]{8,}")
LONG_WORD_LETTERS = 5  # a token, of the words that are rare enough to be taken apart
IDEOGRAPH = re.compile("[\u2e80-\U0010ffff]")  # about a token each
MESSAGE_TOKENS, REPLY_TOKENS = 4, 3  # the frame of a message, and of the reply


def count_tokens(text: str) -> int:
    """About what a tokenizer makes of a text; never more than its bytes."""
    tokens = len(PIECE.findall(text)) + sum((len(word) - 1) // LONG_WORD_LETTERS for word in LONG.findall(text))
    return tokens if text.isascii() else tokens + len(IDEOGRAPH.findall(text))


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Of a chat request: its messages and, where it has one, the JSON schema, which is put before the model too."""
    messages = body["messages"]
    tokens = sum(_count_again(m["content"]) for m in messages[:-1]) + count_tokens(messages[-1]["content"])
    schema = body.get("response_format")
    return tokens + MESSAGE_TOKENS * len(messages) + REPLY_TOKENS + (_count_again(json.dumps(schema)) if schema else 0)


# the few-shot examples before the question are the same in all requests
_count_again = lru_cache(1_000)(count_tokens)


class Meter:
    """What one sandbox has received, served, billed, refused and lost. Not for several threads."""

    def __init__(self) -> None:
        self.requests = 0  # chat requests received
        self.billed = {mode: [0, 0, 0] for mode in ("sync", "batch")}  # requests, prompt tokens, completion tokens
        self.refused: Counter[str] = Counter()  # by HTTP status, and "requests_per_minute"
        self.lost: Counter[str] = Counter()  # billed, and not received by the client, by how
        self.batches: Counter[str] = Counter()  # created, and ended by how
        self.questions: dict[str, list[int]] = {}  # hash of the last message -> times paid, answers out, paid after one

    def bill(self, mode: str, prompt: int, completion: int) -> None:
        """The model has worked."""
        billed = self.billed[mode]
        billed[0] += 1
        billed[1] += prompt
        billed[2] += completion

    def paid(self, question: str) -> None:
        """A question, by its hash, was paid for."""
        counts = self.questions.setdefault(question, [0, 0, 0])
        counts[0] += 1
        counts[2] += counts[1] > 0

    def handed_out(self, question: str) -> None:
        """A readable answer to it went out."""
        self.questions[question][1] += 1

    def read(self, prices: Sequence[float], batch_discount: float, questions: bool = False) -> dict[str, Any]:
        """All of it as JSON; `prices`: dollars per million tokens in and out. `questions`: times paid of each question too."""
        found: dict[str, Any] = {"requests": self.requests}
        for mode, (requests, prompt, completion) in self.billed.items():
            usd = (prompt * prices[0] + completion * prices[1]) / 1e6 * (1 - batch_discount if mode == "batch" else 1)
            found[mode] = {"billed": requests, "prompt_tokens": prompt, "completion_tokens": completion, "usd": usd}
        found["usd"] = found["sync"]["usd"] + found["batch"]["usd"]
        found.update(refused=dict(self.refused), lost=dict(self.lost), batches=dict(self.batches))
        if self.questions:
            found["questions"] = {
                "distinct": len(self.questions),
                "paid_again": sum(times - 1 for times, _, _ in self.questions.values()),
                # the answer that could be read had gone out before: nothing excuses these
                "paid_again_after_an_answer": sum(again for _, _, again in self.questions.values()),
                **({"paid": {name: times for name, (times, _, _) in self.questions.items()}} if questions else {}),
            }
        return found
