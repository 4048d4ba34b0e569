"""How many tokens a request is: at the very most, or about. Nothing is fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

CJK = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
PIECE = re.compile(  # about what the vocabularies of OpenAI never merge across
    rf" ?(?P<word>[^\W\d_{CJK}]+)(?:'[a-z]{{1,2}}\b)?|(?P<number>\d{{1,3}})| ?(?P<cjk>[{CJK}]+)"
    r"| ?(?P<mark>[^\w\s]+|_)[\r\n]*|(?P<space>\s*[\r\n]+|\s+)"
)


def worst_case_tokens(messages: Sequence[dict[str, str]], arguments: dict[str, Any] | None = None) -> int:
    """More tokens than a tokenizer makes of a request: one for every byte of UTF-8, and 8 a message for its frame."""
    schema = (arguments or {}).get("response_format")  # some providers count it as a prompt
    return sum(len(m["content"].encode()) + 8 for m in messages) + (len(json.dumps(schema)) if schema else 0)


def count_tokens(text: str) -> float:
    """About as many as a tokenizer of OpenAI's makes of a text.

    Fitted to o200k_base: 0.7 % more than it on prompts of Ask A Patient, 3.7 % more and 2.6 % fewer on those of HPO with and without
    definitions, 0.8 % fewer on prompts in Chinese.
    """
    return sum(_tokens(kind, found[kind]) for found in PIECE.finditer(text) if (kind := found.lastgroup))


def _tokens(kind: str, piece: str) -> float:
    if kind == "word":
        return 1.0 + max(0, len(piece.encode()) - 5) * 0.22
    return 0.97 * len(piece) if kind == "cjk" else 1.0
