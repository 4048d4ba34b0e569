"""The passage around a mention: what a sentence splitter would give, nearly, and never longer than a model can read."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import itemgetter

from rpdr.corpus.normalise import MAX_CHARS, clean

Hidden = tuple[int, int, str]  # start and end of what must not leave, and what it is
WINDOW_CHARS = 100
# words whose point ends no sentence: without a title before it, a name is not known as one
_SHORT = "Mr Mrs Ms Mx Dr Drs Prof Rev St Hr Fr Pat No Nr Nos Tel geb Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec vs approx"
_NOT_AFTER = "".join(rf"(?<!\b{word})" for word in _SHORT.split()) + r"(?<!\b[A-Z])"
_SENTENCE_END = re.compile(rf"(?:{_NOT_AFTER}\.|[!?。！？])(?=\s|$)\s*|[。！？]|\n+")


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
    return clean(around(text, context, MAX_CHARS)) or None


def hidden_in(context: str, document: str, spans: Sequence[Hidden]) -> list[Hidden]:
    """Of a context that was cut out of a document the places that `spans` of the document cover, wherever it stands there: the label that tells a number to
    be a record's may be outside. `document`: tidied; `spans`: in order, none overlapping. If it is not found there, as half of a composed character is not, all of it."""
    places = [found.start() for found in re.finditer(re.escape(context), document)]
    if not places:
        return [(0, len(context), "CONTEXT")]
    hidden: set[Hidden] = set()
    for at in places:
        first, last = bisect_right(spans, at, key=itemgetter(1)), bisect_left(spans, at + len(context), key=itemgetter(0))
        hidden.update((max(start, at) - at, min(end - at, len(context)), kind) for start, end, kind in spans[first:last])
    return sorted(hidden)


def around(text: str, context: str, chars: int) -> str:
    """Of a context that is longer than so many characters a part that is not, cut between words, with the mention in its middle: where it stands as
    a word of its own, or at all; else the beginning."""
    if len(context) <= chars:
        return context
    words = r"\s+".join(map(re.escape, text.split()))  # white space may differ: the text is as its source has it, a cell or a cut-out
    found = words and (re.search(rf"(?<!\w){words}(?!\w)", context, re.IGNORECASE) or re.search(words, context, re.IGNORECASE))
    start = max(0, min((sum(found.span()) - chars) // 2, len(context) - chars)) if found else 0
    part = context[start : start + chars]
    if start and not context[start - 1].isspace() and " " in part[: chars // 4]:
        part = part.partition(" ")[2]
    if start + chars < len(context) and not context[start + chars].isspace() and " " in part[-chars // 4 :]:
        part = part.rpartition(" ")[0]
    return part
