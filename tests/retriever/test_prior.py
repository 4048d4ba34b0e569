"""Similarities become probabilities that hold."""

import numpy as np
import pytest
from scipy.special import softmax

from rpdr.retriever import fit_prior, similarity_matrix
from rpdr.schema import NIL


def test_what_made_the_choices_is_found_again():
    rng = np.random.default_rng(1)
    similarities = -np.sort(-rng.uniform(0.2, 1.0, (4000, 5)), axis=1)
    logits = np.concatenate([18 * similarities, np.full((4000, 1), 14.0)], axis=1)
    choices = np.array([rng.choice(6, p=p) for p in softmax(logits, axis=1)])
    prior = fit_prior(similarities, [NIL if choice == 5 else choice for choice in choices])
    assert prior.scale == pytest.approx(18, rel=0.1)
    assert prior.none == pytest.approx(14, rel=0.1)


def test_fewer_candidates_have_no_probability_and_never_none_is_no_infinity():
    scores = [[0.9, 0.8, 0.1], [0.7]]
    similarities = similarity_matrix(scores)
    prior = fit_prior(scores, [0, 0])
    p = prior.probabilities(similarities)
    assert p.shape == (2, 4)
    assert p.sum(axis=1) == pytest.approx([1, 1])
    assert (p[1, 1:3] == 0).all()
    assert np.isfinite([prior.scale, prior.none]).all()
