"""How single values are written for people: money, durations, counts, p-values, and text that nobody vouches for."""

from __future__ import annotations

import math
import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, bidi overrides, lone surrogates, unassigned, line separators
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str, limit: int = 0) -> str:
    """`text` with characters that do not show (controls, bidi overrides, zero-width) escaped, cut to `limit` with …; 0: whole."""
    cut = text[: limit - 1] + "…" if limit and len(text) > limit else text
    return "".join(_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in cut)


def in_one_line(error: BaseException, most: int = 400) -> str:
    """What it says, in one line, or its type where it says nothing; of what is longer than `most` the beginning and the end, where a traceback says what
    went wrong. 0: whole."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if not most or len(words) <= most else f"{words[: most // 4]} … {words[-(most * 3 // 4) :]}"


def _escape(character: str) -> str:
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def usd(value: float) -> str:
    """Dollars: cents from a dollar up, under it three decimals, or as many as two digits that are not 0 take."""
    if not value:
        return "$0"
    return f"${value:,.2f}" if value >= 1 else f"${value:.{max(3, 1 - math.floor(math.log10(value)))}f}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 0.42 s, 12.3 s, 4 min 05 s, 2 h 10 min."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{round(whole / 60) // 60} h {round(whole / 60) % 60:02d} min"


def number(value: float) -> str:
    """A count, or a rate as exactly as anyone needs it: with thousands separators, a decimal only under 10."""
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"


def p_value(value: float) -> str:
    """A p-value as "p < 0.001" or "p = 0.012"."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def signed_points(value: float) -> str:
    """A difference of rates in percentage points, signed: +2.4, −0.8."""
    rounded = round(value * 100, 1) + 0.0
    return f"{'−' if rounded < 0 else '+' if rounded > 0 else ''}{abs(rounded):.1f}"


def memory(mib: float) -> str:
    """MiB, or GiB from 1024 up."""
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"
