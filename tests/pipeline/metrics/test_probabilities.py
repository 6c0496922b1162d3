"""Mean probabilities of several predictions, as logits."""

from __future__ import annotations

import numpy as np

from msa.pipeline.metrics.probabilities import log_mean, softmax

LOGITS = np.random.default_rng(0).normal(scale=5, size=(3, 20, 4)).astype(np.float32)


def test_the_softmax_of_the_log_mean_is_the_mean_of_the_softmax() -> None:
    np.testing.assert_allclose(softmax(log_mean(list(LOGITS))), np.mean([softmax(one) for one in LOGITS], 0), atol=1e-7)
    assert log_mean(list(LOGITS)).dtype == np.float32
    np.testing.assert_array_equal(log_mean([LOGITS[0]]), LOGITS[0])


def test_large_logits_do_not_overflow() -> None:
    far = np.array([[1e4, 0.0]], np.float32)
    np.testing.assert_array_equal(softmax(far), [[1.0, 0.0]])
    assert np.isfinite(log_mean([far, far])).all()
