"""Mean probabilities of several predictions, as logits."""

from __future__ import annotations

import numpy as np
import pytest

from msa.pipeline.metrics.probabilities import log_mean, mean_probabilities, softmax
from msa.pipeline.metrics.statistics import negative_log_likelihood

LOGITS = np.random.default_rng(0).normal(scale=5, size=(3, 20, 4)).astype(np.float32)


def test_the_softmax_of_the_log_mean_is_the_mean_of_the_softmax() -> None:
    np.testing.assert_allclose(softmax(log_mean(list(LOGITS))), np.mean([softmax(one) for one in LOGITS], 0), atol=1e-7)
    assert log_mean(list(LOGITS)).dtype == np.float32
    np.testing.assert_array_equal(log_mean([LOGITS[0]]), LOGITS[0])


def test_large_logits_do_not_overflow() -> None:
    far = np.array([[1e4, 0.0]], np.float32)
    np.testing.assert_array_equal(softmax(far), [[1.0, 0.0]])
    assert np.isfinite(log_mean([far, far])).all()


def test_each_logits_are_divided_by_their_own_temperature_before_the_mean() -> None:
    first, second = np.float32([[2.0, 0.0]]), np.float32([[0.0, 4.0]])
    expected = (np.exp([1, 0]) / (np.e + 1) + np.exp([0, 1]) / (np.e + 1)) / 2
    np.testing.assert_allclose(mean_probabilities([first, second], [2.0, 4.0])[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(mean_probabilities([first, second]), (softmax(first) + softmax(second)) / 2)


def test_the_likelihood_is_that_of_the_true_classes() -> None:
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
    expected = -np.log([0.75, 0.5, 1.0]).mean()
    assert negative_log_likelihood(probabilities, np.array([1, 0, 0])) == pytest.approx(expected)
    assert negative_log_likelihood(probabilities[2:], np.array([1])) > 700
