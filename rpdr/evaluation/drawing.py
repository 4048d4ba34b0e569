"""Where values stand in the report's drawings, and how scores and differences are written beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from rpdr.show import signed_points

T = TypeVar("T")
Axis = tuple[float, float]
SURE = 0.05  # of a p-value, below which a difference is told as one


def axis_of(scores: Sequence[Mapping[str, float]]) -> Axis:
    """A shared axis, rounded outwards to tenths, that holds all intervals."""
    if not scores:
        return 0.0, 1.0
    low = math.floor(min(s["low"] for s in scores) * 10 - 1e-9) / 10
    high = math.ceil(max(s["high"] for s in scores) * 10 + 1e-9) / 10
    return max(0.0, low), min(1.0, high)


def place(value: float, axis: Axis) -> float:
    """Where `value` is on `axis`, in 0..100."""
    return round(100 * min(1.0, max(0.0, (value - axis[0]) / ((axis[1] - axis[0]) or 1))), 2)


def drawn(score: Mapping[str, float], axis: Axis) -> dict[str, Any]:
    """A score as text, and where it and its interval stand on `axis`."""
    text = {"value": f"{score['value']:.3f}", "interval": f"{score['low']:.3f} – {score['high']:.3f}"}
    return text | {key: place(score[source], axis) for key, source in (("x", "value"), ("x1", "low"), ("x2", "high"))}


def worded(result: Mapping[str, float]) -> dict[str, str]:
    """A PairedResult's difference as text; `verdict` is "better" or "worse" where both its interval and its test say so, else "same"."""
    clear = result["p_value"] < SURE and (result["low"] > 0 or result["high"] < 0)
    return {
        "points": signed_points(result["difference"]),
        "interval": f"{signed_points(result['low'])} to {signed_points(result['high'])}",
        "verdict": "same" if not clear else "better" if result["difference"] > 0 else "worse",
    }


def drawn_difference(result: Mapping[str, float], axis: Axis) -> dict[str, Any]:
    """A PairedResult's difference as text, and where it and its interval stand on `axis`."""
    return worded(result) | {key: place(result[source], axis) for key, source in (("x", "difference"), ("x1", "low"), ("x2", "high"))}


def reach_of(results: Sequence[Mapping[str, float]]) -> float:
    """How far from 0 the differences and their intervals go; at least a point."""
    return max(0.01, *(abs(r[key]) for r in results for key in ("low", "high", "difference")))


def percent(share: float) -> str:
    """A share in whole percents."""
    return f"{share:.0%}" if share >= 0.01 or share == 0 else "< 1%"


def or_none(write: Callable[[T], str], value: T | None) -> str | None:
    """A value as text; None where there is none, which the template leaves out."""
    return None if value is None else write(value)
