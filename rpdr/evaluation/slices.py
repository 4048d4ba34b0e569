"""Accuracy by part: which part each mention is in, and two systems' outcomes, in; for each part its scores and their difference out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rpdr.evaluation.significance import Resampling, paired_test
from rpdr.evaluation.systems import score
from rpdr.schema import Gold

MOST = 12  # parts that are told apart where they are names; the rare others are one


def slices(
    parts: Sequence[str | None], new: np.ndarray, old: np.ndarray, resampling: Resampling, order: Sequence[str]
) -> list[dict[str, Any]]:
    """{name, mentions, new, old, difference} for each part of `order` that has mentions: two Scores, and the PairedResult of new minus old.

    `parts`: of n mentions, None for one that counts nowhere; `new`, `old`: (n,) bool, whether each system has it right.
    """
    found = []
    for name in order:
        inside = np.array([part == name for part in parts], dtype=bool)
        if inside.any():
            a, b, drawn = new[inside], old[inside], resampling.of(inside)
            difference = paired_test(a, b, drawn)
            scores = {"new": score(a, drawn), "old": score(b, drawn)}
            found.append({"name": name, "mentions": int(inside.sum()), **scores, "difference": difference})
    return found


def by_name(names: Sequence[str | None]) -> tuple[list[str], list[str]]:
    """(each mention's part, the parts by falling size); rare ones beyond MOST are "others", what has no name "not given"."""
    given = [name or "not given" for name in names]
    common = [name for name, _ in Counter(given).most_common()]
    if len(common) > MOST:
        kept = [name for name in common if name != "others"][: MOST - 1]
        return [name if name in kept else "others" for name in given], [*kept, "others"]
    return given, common


def by_count(counts: Sequence[int | None], bounds: Sequence[int]) -> tuple[list[str | None], list[str]]:
    """(each mention's part, the parts in order), by counts that `bounds` (rising) begin parts of: (0, 1, 5) makes 0, 1–4 and 5+.

    None, and what is below the first bound, is in no part.
    """
    names = [_range(low, high) for low, high in zip(bounds, [*bounds[1:], None], strict=True)]
    places = [None if count is None else int(np.searchsorted(bounds, count, side="right")) - 1 for count in counts]
    return [None if place is None or place < 0 else names[place] for place in places], names


def gold_shape(gold: Gold) -> str:
    """What the gold asks for: nothing, one concept, one of several, or several together."""
    if not gold:
        return "NIL"
    if any(len(alternative) > 1 for alternative in gold):
        return "several together"
    return "one of several" if len(gold) > 1 else "one concept"


SHAPES = ("one concept", "one of several", "several together", "NIL")


def _range(low: int, high: int | None) -> str:
    if high is None:
        return f"{low:,}+"
    return f"{low:,}" if high == low + 1 else f"{low:,}–{high - 1:,}"
