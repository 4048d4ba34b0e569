"""What of a question leaves the machine: its mention and its context, masked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import replace

from rpdr.masking import HARD, LATIN, Masker, Span, merged, replaced
from rpdr.teacher.prompt import Question

_PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(sorted(HARD))})\]")  # of those that a mention may hold


def mask_question(masker: Masker, question: Question) -> tuple[Question, dict[str, int]]:
    """(the question as it may leave, what was masked in it by kind).

    The context is masked, by what was around it too. The mention is what is asked about: there, and where it stands in the context, only hard identifiers (HARD)
    are masked; but if it stands in the context both inside a name or address and outside, the one inside is masked.
    """
    text, counts = replaced(question.text, [span for span in masker.spans(question.text) if span.kind in HARD])
    total, context = Counter(counts), question.context
    if context:
        spans, places = merged([*question.hidden, *masker.spans(context)]), _places(question.text, context)
        # a word without digits is no date by what is around it: it is asked about, and stays
        hard = HARD if any(character.isdigit() for character in question.text) else HARD - {"DATE"}
        kinds = [next((s.kind for s in spans if s.kind in hard and s.start <= a and b <= s.end), "") for a, b in places]
        if not counts and kinds and all(kinds):  # its context alone tells that the mention is a number of a record, say
            text, total = f"[{kinds[0]}]", Counter(kinds[:1])
        context, counts = replaced(context, list(_around(places, spans, hard)))
        total.update(counts)
    return replace(question, text=text, context=context, hidden=()), dict(total)


def is_masked_away(question: Question, as_it_leaves: Question) -> bool:
    """Whether placeholders are all that is left of the mention: a drug R115777 has the form of a record's number."""
    return question.text != as_it_leaves.text and not re.search(r"[^\W_]", _PLACEHOLDER.sub("", as_it_leaves.text))


def _places(mention: str, context: str) -> list[tuple[int, int]]:
    """Where the mention stands in its context, as a word of its own where it is written with Latin letters."""
    if not mention:
        return []
    letter = f"[{LATIN}]"
    before = f"(?<!{letter})" if re.match(letter, mention) else ""
    after = f"(?!{letter})" if re.match(letter, mention[-1]) else ""
    return [match.span() for match in re.finditer(before + re.escape(mention) + after, context, re.IGNORECASE)]


def _around(places: list[tuple[int, int]], spans: list[Span], hard: Set[str]) -> Iterator[Span]:
    """The spans, less the mention's own places where these are in soft ones alone."""
    soft = [span for span in spans if span.kind not in hard]
    inside = [place for place in places if any(span.start < place[1] and place[0] < span.end for span in soft)]
    kept = inside if len(inside) == len(places) else []
    for span in spans:
        start = span.start
        for left, right in kept if span.kind not in hard else ():
            if start < right and left < span.end:
                if start < left:
                    yield Span(start, left, span.kind)
                start = right
        if start < span.end:
            yield Span(start, span.end, span.kind)
