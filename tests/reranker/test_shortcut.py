"""What the retriever is so sure of that the student need not be asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rpdr.reranker import fit_calibration
from rpdr.reranker.calibration import Calibration
from rpdr.reranker.shortcut import Shortcut, fit_shortcut

K = 4


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[int | None]]:
    """Similarities (n, K), what is right, and a student that says what the retriever says, but for one in three where the two best are close."""
    rng = np.random.default_rng(seed)
    similarities = np.sort(rng.random((n, K)), axis=1)[:, ::-1] - np.array([0, *[0.2] * (K - 1)]) * rng.integers(0, 2, (n, 1))
    close = similarities[:, 0] - similarities[:, 1] < 0.15
    student = np.where(close & (rng.random(n) < 0.33), 1, 0)
    right = np.zeros((n, K + 1), dtype=bool)
    right[np.arange(n), student] = True
    return similarities, right, [int(place) for place in student]


def fitted(n: int = 2000, share: float = 0.98, student: list[int | None] | None = None) -> Shortcut:
    similarities, right, said = drawn(n)
    return fit_shortcut(similarities, right, student or said, True, np.zeros(n, dtype=bool), [False] * n, True).at(share, True)


def test_what_is_taken_is_what_the_student_says_as_often_as_wanted():
    shortcut = fitted()
    similarities, _, student = drawn(20_000, seed=1)
    _, taken = shortcut.probabilities(similarities, allow_nil=True)
    same = np.array(student) == 0
    assert 0.2 < taken.mean() < 0.9
    assert same[taken].mean() >= 0.98 > same.mean()


@pytest.mark.parametrize(("texts", "taken"), [(100, False), (1000, True)])
def test_repeats_of_a_text_on_dev_show_no_more_than_it_does_once(texts: int, taken: bool):
    similarities, right, _ = drawn(2000)
    of_texts = [f"text {n % texts}" for n in range(2000)]
    told = fit_shortcut(similarities, right, [0] * 2000, True, np.zeros(2000, dtype=bool), [False] * 2000, True, of_texts)
    assert told.point(0.98, exact_match=True).reachable == taken


def test_a_higher_target_takes_less():
    few, many = fitted(share=0.995), fitted(share=0.9)
    similarities, _, _ = drawn(5000, seed=1)
    assert few.probabilities(similarities, True)[1].sum() < many.probabilities(similarities, True)[1].sum()


def test_nothing_is_taken_where_dev_is_too_small_or_the_student_says_otherwise():
    similarities, _, _ = drawn(2000, seed=1)
    # the last: NIL, or several concepts
    for shortcut in (fitted(n=100), fitted(student=[1] * 2000), fitted(student=[None] * 2000)):
        assert not shortcut.probabilities(similarities, allow_nil=True)[1].any()


def test_nil_is_never_taken():
    similarities, right, student = drawn(2000)
    nil = np.arange(2000) % 3 == 0
    similarities[nil] -= 1.5
    right[nil] = np.eye(K + 1, dtype=bool)[-1]
    said = [None if none else place for place, none in zip(student, nil, strict=True)]
    shortcut = fit_shortcut(similarities, right, said, True, nil, [False] * len(nil), True).at(0.98, True)
    _, taken = shortcut.probabilities(similarities, allow_nil=True)
    assert taken.any()
    assert not taken[nil].any()


def test_it_is_kept_beside_the_student(tmp_path: Path):
    assert Shortcut.load(tmp_path) is None
    shortcut = fitted()
    shortcut.save(tmp_path)
    loaded = Shortcut.load(tmp_path)
    assert loaded is not None
    assert not loaded.probabilities(drawn(50)[0], True)[1].any()  # before it is said at which share
    again = loaded.at(0.98, True)
    assert again == shortcut
    similarities, _, _ = drawn(50, seed=2)
    similarities[:, 3] = -np.inf  # fewer candidates
    for before, after in zip(shortcut.probabilities(similarities, False), again.probabilities(similarities, False), strict=True):
        assert np.array_equal(before, after)


def test_where_to_abstain_is_set_by_what_dev_is_answered_now():
    similarities, right, student = drawn(2000)
    shortcut = fit_shortcut(similarities, right, student, True, np.zeros(2000, dtype=bool), [False] * 2000, True).at(0.98, True)
    scores = np.concatenate([similarities * 3, np.zeros((2000, 1))], axis=1)
    calibration = fit_calibration(scores, right, "dev")
    seen = shortcut.seen_by(calibration)
    probabilities, taken = shortcut.probabilities(similarities, allow_nil=True)
    confidence = np.array(seen.dev_confidence)
    assert confidence[taken] == pytest.approx(shortcut.calibration.sure(probabilities[taken, :-1].max(axis=1)))
    assert (confidence[~taken] == np.array(calibration.dev_confidence)[~taken]).all()
    assert (np.array(seen.dev_right)[taken] == right[taken, 0]).all()


def test_what_an_exact_name_decides_shows_nothing_of_the_others():
    # 1,000 that an exact name decides agree always, 500 others nine times out of ten
    confidence = (*np.linspace(0.99, 0.9, 1000), *np.linspace(0.95, 0.6, 500))
    same = (*[True] * 1000, *(n % 10 != 0 for n in range(500)))
    shortcut = Shortcut(Calibration(), confidence, same, same, (*[True] * 1000, *[False] * 500))
    assert shortcut.at(0.95, exact_match=False).above < 0.9
    assert not shortcut.point(0.95, exact_match=True).reachable
    assert shortcut.at(0.95, exact_match=True).above == 1.0


def test_what_an_exact_name_decides_makes_the_retriever_no_surer_of_the_others():
    similarities, right, student = drawn(2000)
    exact = np.arange(2000) % 2 == 0
    right[exact] = np.eye(K + 1, dtype=bool)[0]  # names are right
    nil = np.zeros(2000, dtype=bool)
    with_names, without = (fit_shortcut(similarities, right, student, True, nil, exact.tolist(), decided) for decided in (False, True))
    alone = fit_shortcut(similarities[~exact], right[~exact], student[1::2], True, nil[~exact], [False] * 1000, True)
    assert without.calibration.temperature == pytest.approx(alone.calibration.temperature, rel=1e-3)
    assert without.calibration.temperature > with_names.calibration.temperature
