"""A span of a text, and how patterns find it: what all files of patterns share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

LATIN = "A-Za-z0-9À-ɏ"
UP = "A-ZÀ-ÖØ-ÞĆČĎĐĘĚĞİŁŃŇŐŒŘŚŞŠŤŮŰŹŻŽ"


class Span(NamedTuple):
    """text[start:end] identifies, by what it is."""

    start: int
    end: int
    kind: str


Check = Callable[[re.Match[str]], bool] | None
Patterns = tuple[tuple[str, re.Pattern[str], Check], ...]  # (kind, pattern, what else must hold of a match)


def found(text: str, patterns: Patterns) -> Iterator[Span]:
    """What patterns find: of a match with a named group that group alone."""
    for kind, pattern, check in patterns:
        for match in pattern.finditer(text):
            if check is None or check(match):
                yield Span(*match.span(match.lastgroup or 0), kind)
