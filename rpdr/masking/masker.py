"""What identifies a person is masked before text leaves the machine: text in, masked text and what was masked out.

It lowers risk and is no certificate: patterns find what has the form of an identifier (see `identifiers` for which), lists find common
English names, and a model of your own (`teacher.names_model`) finds more names. A rare name without a title, a nickname, the name of a
village or of a hospital, a story that only one person can have lived: these pass. Knows nothing about Ray; deterministic.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rpdr.config import TeacherConfig
from rpdr.errors import ModelError
from rpdr.masking.identifiers import identifiers
from rpdr.masking.people import again
from rpdr.masking.spans import Span

PATTERNS_ALONE = (
    "data_policy: deidentified: names are found by patterns and a list of English names alone; with teacher.names_model a model finds more"
)
DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−"), "-")
PERSONS = {
    "PER",
    "PERSON",
    "NAME",
    "PATIENT",
    "STAFF",
    "DOCTOR",
    "HCW",
    "USERNAME",
    "FIRSTNAME",
    "LASTNAME",
    "GIVENNAME",
    "SURNAME",
    "MIDDLENAME",
}


class Masker:
    """Replaces what identifies a person by [NAME], [DATE], [AGE], [PHONE], [EMAIL], [URL], [IP], [RECORD] or [ADDRESS].

    Cheap to make: a model is loaded with the first text. Plain years, ages below 90, times of day and durations stay.
    """

    def __init__(self, settings: TeacherConfig) -> None:
        self.phone_regions, self.names_model = settings.phone_regions, settings.names_model
        self._names: Any = None

    def mask(self, text: str) -> tuple[str, dict[str, int]]:
        """(text with placeholders, how many of each kind). Raises ModelError if the names' model cannot be loaded."""
        return replaced(text, self.spans(text))

    def spans(self, text: str) -> list[Span]:
        """What is masked in a text, in order, none overlapping: where two touch the same characters, both go."""
        text = text.translate(DASHES)  # one for one: places stay
        found = [*identifiers(text, self.phone_regions), *self._persons(text)]
        found += again(text, [text[span.start : span.end] for span in found if span.kind == "NAME"])
        return merged(found)

    def _persons(self, text: str) -> Iterator[Span]:
        if not self.names_model or not text.strip():
            return
        if self._names is None:
            from rpdr.models import load_token_classifier  # with torch, for whose import `prepare` would wait

            self._names = load_token_classifier(self.names_model)
            labels = list(self._names.model.config.id2label.values())
            if not any(map(_is_person, labels)):
                raise ModelError(
                    f"teacher.names_model {self.names_model}: none of its labels is known as a person's ({', '.join(labels[:12])}); take a model that "
                    "says PER, PERSON, NAME or PATIENT"
                )
        for found in self._names(text):
            if _is_person(found["entity_group"]):
                yield Span(int(found["start"]), int(found["end"]), "NAME")


def merged(found: Sequence[Span]) -> list[Span]:
    """In order, none overlapping. The surest comes first, and says what it is."""
    merged: list[tuple[int, Span]] = []
    for rank, span in sorted(enumerate(found), key=lambda ranked: (ranked[1].start, ranked[0])):
        if merged and span.start < merged[-1][1].end:
            surer, last = merged[-1]
            merged[-1] = min(rank, surer), Span(last.start, max(last.end, span.end), span.kind if rank < surer else last.kind)
        else:
            merged.append((rank, span))
    return [span for _, span in merged]


def _is_person(label: str) -> bool:
    return not PERSONS.isdisjoint(re.split(r"[^A-Z]+", label.upper()))


def replaced(text: str, spans: Sequence[Span]) -> tuple[str, dict[str, int]]:
    """(text with a placeholder for each of the spans, which are in order and do not overlap; how many of each kind)."""
    parts, at = [], 0
    counts: Counter[str] = Counter()
    for start, end, kind in spans:
        found = text[start:end]
        if not any(character.isalnum() for character in found):
            continue
        lead, tail = len(found) - len(found.lstrip()), len(found.rstrip())
        parts += [text[at : start + lead], f"[{kind}]"]
        at = start + tail
        counts[kind] += 1
    return "".join([*parts, text[at:]]), dict(counts)
