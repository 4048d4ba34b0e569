"""How text is tidied before it is compared (`normalise`) or read by a model (`clean`), and when two mentions are the same question."""

from __future__ import annotations

import re
import unicodedata

from rpdr.files import sha256
from rpdr.schema import MentionKey

MAX_CHARS = 1000  # of a text or a context; a mention longer than this is no mention

_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")  # control characters, and halves of surrogate pairs that UTF-8 cannot hold

# soft hyphen, zero-width space, word joiner and mark of byte order tell where a line may end; the joiners, which tell letters apart in some scripts, stay
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))


def clean(text: str) -> str:
    """`tidied`; the first MAX_CHARS characters alone are read."""
    return tidied(text[:MAX_CHARS])[:MAX_CHARS].rstrip()


def tidied(text: str) -> str:
    """Invisible characters left out, NFKC, control characters to spaces, white space collapsed and stripped."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_INVISIBLE))
    return " ".join(_NOT_TEXT.sub(" ", text).split())


def normalise(text: str) -> str:
    """`clean`, then case folded: two texts that a reader would call the same are equal. normalise(normalise(x)) == normalise(x)."""
    folded = clean(text).casefold()
    return folded if folded.isascii() else clean(unicodedata.normalize("NFKC", folded).casefold())


def mention_key(text: str, type: str | None = None, context: str | None = None) -> MentionKey:
    """32 hex digits; equal for mentions whose normalised text, type and normalised context are equal."""
    return MentionKey(sha256(normalise(text), type or "", normalise(context) if context else "")[:32])
