"""From scores to probabilities that hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from rpdr.reranker import Calibration, fit_calibration, nil_threshold
from rpdr.reranker.calibration import UNFITTED, also_threshold


def one(choices: np.ndarray, places: int) -> np.ndarray:
    """(n, places) bool: the one right place of each."""
    return np.eye(places, dtype=bool)[choices]


def drawn(n: int, temperature: float, none_shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and what is right (one place a row), drawn from the probabilities that they have at this temperature and shift."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(scale=4, size=(n, 6)).astype(np.float32)
    shifted = scores.copy()
    shifted[:, -1] += none_shift
    return scores, one(np.array([rng.choice(6, p=row) for row in softmax(shifted.astype(float) / temperature, axis=1)]), 6)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature: float):
    fitted = fit_calibration(*drawn(2000, temperature), "drawn")
    assert fitted.temperature == pytest.approx(temperature, rel=0.15)
    assert fitted.none_shift == pytest.approx(0, abs=0.5)
    assert fitted.fitted_on == "2000 drawn"


def test_a_known_shift_of_none_is_found():
    fitted = fit_calibration(*drawn(3000, 2.0, none_shift=3.0), "drawn")
    assert fitted.temperature == pytest.approx(2, rel=0.15)
    assert fitted.none_shift == pytest.approx(3, abs=0.6)


def test_calibration_makes_right_answers_likelier():
    scores, right = drawn(500, 4.0, none_shift=2.0)

    def log_likelihood(calibration: Calibration) -> float:
        return float(np.log(calibration.probabilities(scores)[right]).mean())

    assert log_likelihood(fit_calibration(scores, right, "drawn")) > log_likelihood(Calibration()) + 0.1


@pytest.mark.parametrize("allow_nil", [True, False])
def test_fewer_than_20_mentions_are_too_few(allow_nil: bool):
    scores, right = drawn(19, 3.0)
    assert fit_calibration(scores, right, "drawn", allow_nil) == UNFITTED


def test_what_too_few_mentions_leave_as_it_is_are_probabilities_and_nil_is_never_said():
    scores, _ = drawn(200, 1.0, none_shift=5.0)
    p = UNFITTED.probabilities(scores)
    assert np.array_equal(p, Calibration().probabilities(scores))
    assert (p[:, -1] > 0.5).any()
    assert not UNFITTED.decide(p)[1].any()


def test_repeats_of_few_texts_are_too_few():
    scores, right = drawn(400, 3.0)
    few, enough = ([f"text {n % texts}" for n in range(400)] for texts in (19, 20))
    assert fit_calibration(scores, right, "drawn", texts=few) == UNFITTED
    assert fit_calibration(scores, right, "drawn", texts=enough).temperature == pytest.approx(3, rel=0.3)
    asked = np.arange(400) % 2 == 0  # of ten texts
    alone = fit_calibration(scores, right, "drawn", asked=asked, texts=enough)
    assert alone == fit_calibration(scores, right, "drawn", texts=enough)


def test_several_candidates_may_be_right():
    scores, right = drawn(3000, 2.0)
    right[:, 0] |= right[:, 1]
    right[:, 1] = right[:, 0]  # the answer is either of the two
    assert fit_calibration(scores, right, "drawn").temperature == pytest.approx(2, rel=0.15)


def test_an_answer_is_as_sure_as_such_answers_are_right_where_several_are():
    scores, right = drawn(4000, 2.0)
    second = np.argsort(-scores[:, :-1], axis=1)[:, 1]
    right[np.arange(4000), second] |= np.arange(4000) % 2 == 0  # of every other mention the second best is right too
    right[:, -1] &= ~right[:, :-1].any(axis=1)
    learn, held_out = slice(0, 2000), slice(2000, None)
    fitted = fit_calibration(scores[learn], right[learn], "drawn", allow_nil=False)
    p = fitted.probabilities(scores[held_out])
    best, _, confidence = fitted.decide(p, allow_nil=False)
    hit = right[held_out][np.arange(2000), best]
    off = [abs(hit[part].mean() - confidence[part].mean()) for part in np.array_split(np.argsort(confidence), 5)]
    assert max(off) < 0.08
    assert np.array_equal(np.argsort(confidence), np.argsort(p[np.arange(2000), best]))


def test_how_sure_it_is_is_kept_and_a_calibration_without_it_has_its_probabilities(tmp_path: Path):
    scores, right = drawn(300, 2.0)
    fitted = fit_calibration(scores, right, "drawn")
    assert fitted.sure_scale > 0
    fitted.save(tmp_path / "now.json")
    assert Calibration.load(tmp_path / "now.json") == fitted
    low, high = fitted.sure(np.array([0.0, 1.0])).tolist()
    assert 0 < low < 1e-4 < 1 - 1e-4 < high < 1  # of what is certain, too, a number that the fit has seen
    (tmp_path / "earlier.json").write_text('{"temperature": 2.0}')
    assert Calibration.load(tmp_path / "earlier.json").sure(np.array([0.25])).tolist() == [0.25]


def test_where_nil_is_never_said_a_miss_of_the_retriever_still_lowers_the_confidence():
    scores, right = drawn(3000, 2.0, none_shift=3.0)
    fitted = fit_calibration(scores, right, "drawn", allow_nil=False)
    assert np.mean(fitted.dev_confidence) == pytest.approx(np.mean(fitted.dev_right), abs=0.02)
    _, nil, _ = fitted.decide(fitted.probabilities(scores), allow_nil=False)
    assert not nil.any()


def test_absent_candidates_have_probability_0_and_change_no_fit():
    scores, right = drawn(500, 2.0)
    padded, moved = np.insert(scores, 5, -np.inf, axis=1), np.insert(right, 5, False, axis=1)
    fitted, wide = fit_calibration(scores, right, "x"), fit_calibration(padded, moved, "x")
    assert wide.temperature == pytest.approx(fitted.temperature, rel=1e-3)
    assert (wide.probabilities(padded)[:, 5] == 0).all()
    assert np.allclose(wide.probabilities(padded).sum(axis=1), 1)


def test_temperature_changes_no_ranking_of_candidates():
    scores, _ = drawn(50, 1.0)
    plain, warm = Calibration().probabilities(scores), Calibration(7.0, 2.0).probabilities(scores)
    assert (np.argsort(plain[:, :-1]) == np.argsort(warm[:, :-1])).all()


def test_the_scores_given_are_left_as_they_were():
    scores, _ = drawn(5, 1.0)
    before = scores.copy()
    Calibration(2.0, 1.0).probabilities(scores)
    assert (scores == before).all()


def test_a_saved_calibration_is_json_that_makes_the_same(tmp_path: Path):
    scores, right = drawn(60, 1.5)
    fitted = fit_calibration(scores, right, "dev mentions", exact=[None, True, False] * 20)
    fitted.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == fitted
    assert Calibration(**json.loads((tmp_path / "c.json").read_text())) == fitted
    assert Calibration.load(tmp_path / "none.json") == Calibration()


def test_nil_is_answered_only_where_it_is_right_more_often_than_the_first_candidate():
    certainty = np.array([0.1, 0.2, 0.3, 0.4, 0.9])
    nil = np.array([True, True, False, True, False])
    right = np.array([False, False, True, False, True])
    assert 0.2 < nil_threshold(certainty, right, nil) < 0.3 or 0.4 < nil_threshold(certainty, right, nil) < 0.9


def test_nil_is_never_or_always_the_answer_where_that_is_best():
    certainty = np.array([0.1, 0.2])
    assert nil_threshold(certainty, np.array([True, True]), np.array([False, False])) == -np.inf
    assert nil_threshold(certainty, np.array([False, False]), np.array([True, True])) == np.inf


def test_equal_certainties_are_answered_alike():
    threshold = nil_threshold(np.array([0.5, 0.5, 0.5]), np.array([False, True, True]), np.array([True, False, False]))
    assert threshold == -np.inf


def test_a_miss_of_the_retriever_is_not_taken_for_nil():
    # "none" is likely for all of 40 mentions, but NIL only where it is nearly certain
    scores = np.zeros((40, 3), dtype=np.float32)
    scores[:, 0] = 1.0
    scores[:20, 2], scores[20:, 2] = 8.0, 2.0
    nil = np.arange(40) < 20
    choices = np.where(nil | (np.arange(40) % 4 != 0), 2, 0)  # of the rest, a quarter is found
    fitted = fit_calibration(scores, one(choices, 3), "made up", nil=nil)
    none = fitted.probabilities(scores)[:, -1]
    assert (none[20:] > 0.5).all()
    assert ((none > fitted.nil_above) == nil).all()
    assert fit_calibration(scores, one(choices, 3), "made up").nil_above == 0.5


def test_nil_is_as_confident_as_nil_is_right():
    # "none" is certain, and right, for all of 200; but only of every second does the knowledge base lack the concept
    scores = np.zeros((200, 3), dtype=np.float32)
    scores[:, 2] = 9.0
    nil = np.arange(200) % 2 == 0
    fitted = fit_calibration(scores, one(np.full(200, 2), 3), "made up", nil=nil)
    _, said_nil, confidence = fitted.decide(fitted.probabilities(scores))
    assert said_nil.all()
    assert confidence.mean() == pytest.approx(0.5, abs=0.01)
    assert fitted.dev_right == tuple(nil.tolist())


def test_an_exact_name_is_as_confident_as_dev_found_such_names_right():
    scores, right = drawn(40, 1.0)
    assert fit_calibration(scores, right, "x").exact_confidence == 1.0
    assert fit_calibration(scores, right, "x", exact=[True] * 10 + [None] * 30).exact_confidence == 1.0
    assert fit_calibration(scores, right, "x", exact=[True] * 8 + [False] * 2 + [None] * 30).exact_confidence == pytest.approx(9 / 11)


def test_whether_exact_names_are_given_counts_each_text_once():
    # one name stands on dev 60 times and is right; five others, once each, are wrong
    exact = (*[True] * 60, *[False] * 5)
    by_mention = Calibration(dev_confidence=(0.5,) * 65, dev_right=(False,) * 65, dev_exact=exact)
    by_text = replace(by_mention, dev_text=(*[0] * 60, 1, 2, 3, 4, 5))
    given = []
    for fitted in (by_mention, by_text):
        assert fitted.exact_confidence == pytest.approx(61 / 66)
        point = fitted.operating_point(0.9, exact_match=True)
        assert not point.reachable
        given.append(point.gives(fitted.exact_confidence, exact=True))
    assert given == [True, False]


def test_where_exact_names_decide_dev_is_counted_as_they_decide_it():
    # the student is always sure and always wrong; the exact names are right
    scores = np.zeros((100, 3), dtype=np.float32)
    scores[:, 0] = 9.0
    fitted = fit_calibration(scores, one(np.full(100, 1), 3), "made up", exact=[True] * 100)
    assert fitted.operating_point(0.9, exact_match=True).reachable
    assert not fitted.operating_point(0.9, exact_match=False).reachable


@pytest.mark.parametrize(("texts", "shown"), [(60, False), (100, True)])
def test_repeats_of_a_text_on_dev_show_no_more_than_it_does_once(texts: int, shown: bool, tmp_path: Path):
    scores = np.zeros((300, 3), dtype=np.float32)
    scores[:, 0] = 9.0
    fitted = fit_calibration(scores, one(np.zeros(300, dtype=int), 3), "made up", texts=[f"text {n % texts}" for n in range(300)])
    assert fitted.operating_point(0.95, exact_match=False).reachable == shown  # 80 texts without an error would show it
    fitted.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == fitted


def test_what_belongs_to_an_answer_beside_the_best_is_set_for_the_best_f1():
    p = np.array([[0.5, 0.45, 0.05], [0.6, 0.35, 0.05], [0.8, 0.15, 0.05], [0.7, 0.2, 0.1], [0.1, 0.1, 0.1]])
    wanted = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)
    nil = np.array([False, False, False, False, True])
    sizes = np.array([2, 2, 1, 1, 0])
    assert also_threshold(p, nil, wanted, sizes) == pytest.approx((0.35 + 0.2) / 2)
    alone = wanted & (p == p.max(axis=1, keepdims=True))
    assert also_threshold(p, nil, alone, alone.sum(axis=1)) == 1.0


def test_the_threshold_is_the_best_of_all_that_could_be_tried():
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.ones(6) * 0.5, size=300)[:, :5]
    wanted, nil = rng.random(p.shape) < p, rng.random(300) < 0.1
    sizes = wanted.sum(axis=1) + (rng.random(300) < 0.2)

    def f1(above: float) -> float:
        given = (p > above) | (p == p.max(axis=1, keepdims=True))
        given[nil] = False
        return 2 * (given & wanted).sum() / (given.sum() + sizes.sum())

    found = also_threshold(p, nil, wanted, sizes)
    assert f1(found) == pytest.approx(max(f1(above) for above in np.linspace(0, 1, 2001)), abs=2e-3)
    assert f1(found) > f1(1.0)


@pytest.mark.parametrize("seed", range(6))
def test_where_none_is_seldom_said_and_often_right_probabilities_stay_probabilities(seed: int):
    rng = np.random.default_rng(seed)
    scores = rng.normal(scale=2, size=(60, 11))
    scores[:, -1] = -8
    right = one(np.where(rng.random(60) < 0.5, 10, scores[:, :-1].argmax(1)), 11)
    fitted = fit_calibration(scores, right, "drawn")
    assert fitted.temperature < 2
    assert (fitted.probabilities(scores)[:, :-1].argmax(1) == scores[:, :-1].argmax(1)).all()
    assert fitted.none_shift > 0


@pytest.mark.parametrize("seed", range(6))
def test_few_errors_that_are_as_sure_as_what_is_right_do_not_make_all_answers_alike(seed: int):
    rng = np.random.default_rng(seed)
    scores = np.column_stack([rng.normal(2.5, 1, 40), np.zeros(40)])
    wrong = np.argsort(-scores[:, 0])[:2]  # the surest
    right = one(np.isin(np.arange(40), wrong).astype(int), 2)
    fitted = fit_calibration(scores, right, "drawn", allow_nil=False)
    low, high = fitted.sure(np.array([0.3, 0.999])).tolist()
    assert high - low > 0.05


def test_all_right_is_not_certain():
    scores = np.column_stack([np.full(25, 9.0), np.zeros(25)])
    fitted = fit_calibration(scores, one(np.zeros(25, dtype=int), 2), "drawn", allow_nil=False)
    assert max(fitted.dev_confidence) < 1


def test_it_is_fitted_on_what_the_student_is_asked_about():
    """Those that an exact name decides are right at any score, and would make the others look likelier than they are."""
    hard, right = drawn(400, 3.0)
    easy = np.tile([0.0, 0.0, 0.0, 0.0, 9.0, 0.0], (200, 1))
    scores, all_right = np.concatenate([hard, easy]), np.concatenate([right, one(np.full(200, 4), 6)])
    asked = np.arange(600) < 400
    fitted = fit_calibration(scores, all_right, "drawn", asked=asked)
    alone = fit_calibration(hard, right, "drawn")
    assert (fitted.temperature, fitted.sure_scale) == (alone.temperature, alone.sure_scale)
    assert fitted.fitted_on == alone.fitted_on == "400 drawn"
    assert fitted.dev_confidence[:400] == alone.dev_confidence
    assert len(fitted.dev_confidence) == 600  # the others are told too: an operating point counts them as their names decide
    assert fit_calibration(scores, all_right, "drawn").temperature < fitted.temperature
    few = np.arange(600) < 10
    assert fit_calibration(scores, all_right, "drawn", asked=few) == fit_calibration(scores, all_right, "drawn")
