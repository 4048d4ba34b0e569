"""Labels trusted anew, by the similarities of another round."""

from __future__ import annotations

from typing import Any

from rpdr.pipeline.trust import ENOUGH, believed_again
from rpdr.schema import NIL

ALIKE = {"agreed": 1, "asked": 1, "confidence": None, "trust": 0.5}


def label(scores: list[float], choice: int) -> dict[str, Any]:
    return {**ALIKE, "scores": scores, "choice": choice, "text": "t"}


def test_a_label_is_trusted_as_far_as_the_round_finds_it_likely():
    usual = [label([0.9, 0.5, 0.4], 0) for _ in range(60)]
    odd = [label([0.9, 0.5, 0.4], 2) for _ in range(20)]
    dev = [{"scores": [0.9, 0.5, 0.4], "choice": 0 if n % 10 else 1, "text": f"dev {n}"} for n in range(ENOUGH)]
    found = believed_again([*usual, *odd], dev)
    assert min(row["trust"] for row in found[:60]) > 0.9
    assert max(row["trust"] for row in found[60:]) < 0.5
    assert [{**row, "trust": 0.5} for row in found] == [*usual, *odd]


def test_without_dev_the_labels_speak_for_themselves():
    found = believed_again([label([0.9, 0.2], 0)] * 50 + [label([0.9, 0.2], NIL)] * 10, [])
    assert found[0]["trust"] > found[-1]["trust"]


def test_repeats_of_few_dev_texts_tell_as_little_as_none():
    labels = [label([0.9, 0.2], 0)] * 50 + [label([0.9, 0.2], NIL)] * 10
    dev = [{"scores": [0.9, 0.2], "choice": 0, "text": ("Pain", "pain ")[n % 2]} for n in range(10 * ENOUGH)]
    assert believed_again(labels, dev) == believed_again(labels, [])


def test_no_label_is_no_trust():
    assert believed_again([], []) == []
