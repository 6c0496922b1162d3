"""Offsets of decisions are tuned on validation rows: never worse there, and none where nothing is gained."""

from __future__ import annotations

import numpy as np

from msa.pipeline.metrics.scores import score
from msa.pipeline.metrics.thresholds import tune_offsets


def test_a_rare_class_is_found_by_an_offset() -> None:
    labels = np.array([0] * 80 + [1] * 20)
    lean = np.where(labels == 1, -0.2, -1.0) + np.random.default_rng(0).normal(0, 0.05, 100)
    logits = np.stack([-lean / 2, lean / 2], 1).astype(np.float32)  # class 0 always wins
    offsets = tune_offsets(logits, labels, metric="macro_f1")
    before, after = (score(labels, one.argmax(1), (0, 1))["macro_f1"] for one in (logits, logits + offsets))
    assert before < 0.5 < after
    assert offsets.shape == (2,)
    assert offsets[-1] == 0


def test_perfect_logits_keep_their_decisions() -> None:
    labels = np.array([0, 1, 2] * 4)
    logits = (4 * np.eye(3)[labels]).astype(np.float32)
    np.testing.assert_array_equal(tune_offsets(logits, labels, metric="accuracy"), np.zeros(3))
