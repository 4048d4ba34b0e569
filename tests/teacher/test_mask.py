"""What of a question leaves."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from rpdr.config import TeacherConfig
from rpdr.corpus.context import hidden_in, window
from rpdr.corpus.normalise import tidied
from rpdr.masking import Masker, Span
from rpdr.teacher.mask import mask_question
from rpdr.teacher.prompt import Question
from tests.masking.notes import notes

MASKER = Masker(TeacherConfig())


def question(text: str, context: str | None) -> Question:
    return Question("k", text, context, None, ("C1",), ("Fever",), (None,))


@pytest.mark.parametrize(
    ("text", "context", "masked_text", "masked_context", "counts"),
    [
        ("fever", "Mr Smith has fever since 3/4/2021", "fever", "Mr [NAME] has fever since [DATE]", {"NAME": 1, "DATE": 1}),
        ("fever", None, "fever", None, {}),
        # asked about, so it stays, but what is around it does not
        ("Graves", "seen by Dr Graves", "Graves", "seen by Dr Graves", {}),
        ("Graves", "seen by Dr Anna Graves", "Graves", "seen by Dr [NAME] Graves", {"NAME": 1}),
        ("Graves", "Dr Graves saw Graves disease", "Graves", "Dr [NAME] saw Graves disease", {"NAME": 1}),
        # a short mention does not keep a part of a name
        ("mi", "Mr Dimi Smith had an MI", "mi", "Mr [NAME] had an MI", {"NAME": 1}),
        ("it", "Mr Smith", "it", "Mr [NAME]", {"NAME": 1}),
        # only the context tells what this is
        ("123456", "MRN 123456.", "[RECORD]", "MRN [RECORD].", {"RECORD": 2}),
        # what no concept is called is masked in the mention too
        ("rash 3/4/2021", "Had rash 3/4/2021.", "rash [DATE]", "Had rash [DATE].", {"DATE": 2}),
        ("mail a@b.org", "to mail a@b.org", "mail [EMAIL]", "to mail [EMAIL]", {"EMAIL": 2}),
        # no word is a date by its context, but with a digit it may be a part of one
        ("OCT", "had OCT on 3/4/2021", "OCT", "had OCT on [DATE]", {"DATE": 1}),
        ("DIC", "grade 2 DIC 2021", "DIC", "grade [DATE] DIC [DATE]", {"DATE": 2}),
        ("12", "since 3/12/2021", "[DATE]", "since [DATE]", {"DATE": 2}),
    ],
)
def test_a_question_keeps_its_mention(text: str, context: str | None, masked_text: str, masked_context: str | None, counts: dict[str, int]):
    masked, found = mask_question(MASKER, question(text, context))
    assert (masked.text, masked.context) == (masked_text, masked_context)
    assert found == counts
    assert masked.key == "k"


def test_a_context_hides_what_the_whole_note_would():
    lost = 0
    for n, (_, note, _) in enumerate(notes(seed=5, count=1500)):
        fill = " and then has" + " more and" * (n % 12) + " worse "  # no end of a sentence: the window is cut between words
        document = tidied(note.replace(". ", " ") + fill + "chest pain" + fill + note)
        start = len(note.replace(". ", " ") + fill)
        context = window(document, start, start + 10)
        cut = replace(question("chest pain", context), hidden=tuple(Span(*s) for s in hidden_in(context, document, MASKER.spans(document))))
        whole = MASKER.mask(document)[0]
        left = {name: mask_question(MASKER, asked)[0].context or "" for name, asked in (("told", cut), ("alone", replace(cut, hidden=())))}
        assert all(word in whole for word in re.findall(r"\w+", left["told"])), (note, left)
        assert "chest pain" in left["told"]
        lost += not all(word in whole for word in re.findall(r"\w+", left["alone"]))
    assert lost > 10


def test_a_label_that_is_cut_off_still_tells_what_is_masked():
    document = "Hospital number 443322 admitted from the emergency department this morning having two days of worsening central chest pain"
    context = window(document, document.index("chest pain"), len(document))
    assert context.startswith("443322")
    hidden = tuple(Span(*span) for span in hidden_in(context, document, MASKER.spans(document)))
    masked, counts = mask_question(MASKER, replace(question("chest pain", context), hidden=hidden))
    assert (masked.context, counts) == (context.replace("443322", "[RECORD]"), {"RECORD": 1})
