"""The passage around a mention: what a sentence splitter would give, nearly, and never longer than a model can read."""

from __future__ import annotations

import re

from rpdr.corpus.normalise import MAX_CHARS, clean

WINDOW_CHARS = 100
_SENTENCE_END = re.compile(r"[.!?。！？](?=\s|$)\s*|[。！？]|\n+")


def window(text: str, start: int, end: int, chars: int = WINDOW_CHARS) -> str:
    """text[start:end] with up to `chars` characters on each side, cut at ends of sentences, or else of words; cleaned."""
    left, right = text[max(0, start - chars) : start], text[end : end + chars]
    ends = list(_SENTENCE_END.finditer(left))
    if ends:
        left = left[ends[-1].end() :]
    elif start > chars:
        left = left.partition(" ")[2] if " " in left else left
    stop = _SENTENCE_END.search(right)
    if stop and (stop.end() < len(right) or end + chars >= len(text)):
        right = right[: stop.end()]
    elif end + chars < len(text) and " " in right:
        right = right.rpartition(" ")[0]
    return clean(left + text[start:end] + right)


def given_context(context: str | None, text: str) -> str | None:
    """A context that came with the mention: cleaned, and if it is too long the part around the mention. None if there is none."""
    if not context or not context.strip():
        return None
    if len(context) > MAX_CHARS:
        at = max(0, context.find(text))
        context = context[max(0, at - MAX_CHARS // 2) :]
    return clean(context) or None
