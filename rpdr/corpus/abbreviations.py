"""Abbreviations that a document defines, "Duchenne muscular dystrophy (DMD)", by the algorithm of Schwartz & Hearst (2003, A simple algorithm for
identifying abbreviation definitions in biomedical text, PSB), and mentions with them written out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from rpdr.corpus.normalise import MAX_CHARS, clean

SHORT_CHARS, LONG_CHARS = 10, 300  # at most, of the two forms
DEFINITIONS = 1000  # of a document; a text of hostile length is read no further
_BRACKETS = re.compile(r"[(\[]([^()\[\]\n]{1,200})[)\]]")
_CLAUSE = re.compile(r"[.!?]\s|[;:\n()\[\]]|,\s")  # a long form before a bracket begins after the last of these
_AFTER_SHORT = re.compile(r"[;,:]\s|\s(?:or|and)\s")  # "(DMD; MIM 310200)"
_MARKS = " \"',;:"


def definitions(document: str) -> dict[str, str]:
    """Short form -> long form, both clean; of two definitions of one short form the first."""
    if not document.isascii():
        document = unicodedata.normalize("NFKC", document)
    found: dict[str, str] = {}
    for bracket in _BRACKETS.finditer(document):
        before, inside = document[max(0, bracket.start() - LONG_CHARS) : bracket.start()].rstrip(), bracket[1].strip()
        short = _AFTER_SHORT.split(inside)[0].strip(_MARKS)
        if _is_short(short):
            long = _long_form(short, _CLAUSE.split(before)[-1])
        else:  # the other way round: "DMD (Duchenne muscular dystrophy)"
            short = before.split()[-1].strip(_MARKS) if before else ""
            long = _long_form(short, inside) if _is_short(short) and _is_written_as_one(short) else None
            long = long if long == inside else None
        if long is not None:
            found.setdefault(clean(short), clean(long))
        if len(found) == DEFINITIONS:
            break
    return found


def written_out(text: str, long_forms: Mapping[str, str]) -> str:
    """The text with its short forms, where they are whole words, replaced by their long forms; one whose long form is there too stays, and so does all of
    what would be too long. What follows is not said twice: "AT syndrome", where AT is some syndrome."""
    lower = text.lower()
    told = [(short, long) for short, long in long_forms.items() if short in text and long.lower() not in lower]
    if not told:
        return text
    told.sort(key=lambda forms: -len(forms[0]))
    each = (rf"({re.escape(short)}(?![\w-])(?:\s+{re.escape(long.split()[-1])}\b)?)" for short, long in told)
    written = re.sub(rf"(?<![\w-])(?:{'|'.join(each)})", lambda found: told[(found.lastindex or 1) - 1][1], text)
    return written if len(written) <= MAX_CHARS else text


def _is_short(text: str) -> bool:
    """As the paper has it: 2 to 10 characters, at most two words, a letter among them, and a letter or digit at the beginning."""
    return 2 <= len(text) <= SHORT_CHARS and len(text.split()) <= 2 and text[0].isalnum() and re.search(r"[^\W\d_]", text) is not None


def _is_written_as_one(text: str) -> bool:
    """Whether it looks like no word, as "pain" and "Crestor" do: two capitals or digits."""
    return sum(letter.isupper() or letter.isdecimal() for letter in text) >= 2


def _long_form(short: str, text: str) -> str | None:
    """The last words of the text whose first letters are those of `short`; or else, if it looks like no word, the shortest end of the text in which
    these come in their order, the first at the beginning of a word. None if that is too many words, or no longer form."""
    words = [word.start() for word in re.finditer(r"[^\W_]+", text)][-len(short) :]
    if len(short) > 2 and "".join(text[at] for at in words).lower() == short.lower():
        start: int | None = words[0]
    else:
        start = _start(_lower(short), _lower(text)) if _is_written_as_one(short) else None
    if start is None:
        return None
    long = text[start:].strip()
    count = len(long.split())
    known = short in (word.strip(_MARKS) for word in long.split())
    return None if known or len(long) <= len(short) or count > min(len(short) + 5, 2 * len(short)) else long


def _lower(text: str) -> str:
    """In lower case, each character at its place: İ alone would become two."""
    return text.replace("İ", "i").lower()


def _start(short: str, text: str) -> int | None:
    """Where the word begins in which the first letter of `short` is found, when its letters and numbers are sought from the end of the text on."""
    units, place = re.findall(r"\d+|[^\W\d_]", short), len(text)
    for n in range(len(units) - 1, -1, -1):
        place = text.rfind(units[n], 0, place)
        while place >= 0 and _amid(text, place, units[n], first=n == 0):
            place = text.rfind(units[n], 0, place + len(units[n]) - 1)
        if place < 0:
            return None
    return text.rfind(" ", 0, place) + 1


def _amid(text: str, place: int, unit: str, first: bool) -> bool:
    """Whether what is found here is in the midst of a word, where the `first` may not be, or in the midst of a number, where a number may not be."""
    before, after = text[max(0, place - 1) : place], text[place + len(unit) :][:1]
    return (first and before.isalnum()) or (unit.isdecimal() and (before.isdecimal() or after.isdecimal()))
