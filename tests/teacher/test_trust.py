"""A teacher's accuracy is found from its agreement with the retriever, and labels are trusted as often as they are right."""

import numpy as np
import pytest

from rpdr.teacher import believe, kind


def answered(n: int, accuracy: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(prior of the chosen option, whether it is right): mentions of 10 candidates and "none", a calibrated retriever."""
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.full(11, 0.15), n)
    truth = np.array([rng.choice(11, p=row) for row in prior])
    wrong = (truth + rng.integers(1, 11, n)) % 11
    choice = np.where(rng.random(n) < accuracy, truth, wrong)
    return prior[np.arange(n), choice], choice == truth


@pytest.mark.parametrize("accuracy", [0.6, 0.8, 0.9, 0.98])
def test_the_accuracy_of_a_teacher_is_found_without_gold(accuracy: float):
    chosen, right = answered(4000, accuracy)
    trust, found = believe(chosen, np.full(4000, 11), [kind(1, 1, None)] * 4000)
    assert list(found.values()) == [pytest.approx(accuracy, abs=0.02)]
    for low, high in ((0.0, 0.5), (0.5, 0.9), (0.9, 1.0)):
        inside = (trust >= low) & (trust < high)
        assert inside.sum() < 100 or right[inside].mean() == pytest.approx(trust[inside].mean(), abs=0.06)


def test_each_kind_of_label_has_an_accuracy_of_its_own():
    sure, unsure = answered(2000, 0.95), answered(2000, 0.6, seed=2)
    chosen = np.concatenate([sure[0], unsure[0]])
    kinds = [kind(1, 1, 0.99)] * 2000 + [kind(1, 1, 0.5)] * 2000
    _, found = believe(chosen, np.full(4000, 11), kinds)
    assert found[kind(1, 1, 0.99)] == pytest.approx(0.95, abs=0.03)
    assert found[kind(1, 1, 0.5)] == pytest.approx(0.6, abs=0.03)


def test_kinds_with_few_labels_are_taken_together():
    chosen, _ = answered(60, 0.9)
    trust, found = believe(chosen, np.full(60, 11), [kind(n % 3, 3, None) for n in range(60)])
    assert len(set(found.values())) == 1
    assert ((trust > 0) & (trust < 1)).all()


def test_certain_priors_and_a_single_option_break_nothing():
    trust, _ = believe(np.array([0.0, 1.0, 0.5]), np.array([11, 11, 1]), [kind(1, 1, None)] * 3)
    assert np.isfinite(trust).all()
