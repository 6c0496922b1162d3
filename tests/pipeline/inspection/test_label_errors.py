"""Likely label errors are those of the confident joint, as the paper defines it."""

from __future__ import annotations

import numpy as np
import pytest

from msa.pipeline.inspection.label_errors import label_errors


def test_rows_outside_the_diagonal_of_the_confident_joint_are_doubted() -> None:
    """Row by row: thresholds are mean self-confidences, the joint counts the most probable class above its own."""
    draw = np.random.default_rng(3)
    probabilities = draw.dirichlet([0.7] * 4, 300)
    labels = np.array([draw.choice(4, p=0.2 * row + 0.2) for row in probabilities])
    labels[labels == 3] = 2  # no row has the label 3
    thresholds = [probabilities[labels == k, k].mean() if (labels == k).any() else np.inf for k in range(4)]
    wanted = {}
    for row, (label, p) in enumerate(zip(labels, probabilities, strict=True)):
        confident = [k for k in range(4) if p[k] >= thresholds[k]]
        if confident and (best := max(confident, key=lambda k: p[k])) != label:
            wanted[row] = best
    rows, others = label_errors(labels, probabilities)
    assert dict(zip(rows, others, strict=True)) == wanted
    assert 20 < len(wanted) < 200
    margins = probabilities[rows, labels[rows]] - probabilities[rows, others]
    assert np.all(np.diff(margins) >= 0)


def test_sure_predictions_of_true_labels_leave_none() -> None:
    rows, others = label_errors(np.array([0, 1, 2]), np.eye(3) * 0.9 + 0.03)
    assert len(rows) == len(others) == 0


@pytest.mark.parametrize("classes", [2, 5])
def test_no_posts_have_no_errors(classes: int) -> None:
    assert not len(label_errors(np.zeros(0, np.int64), np.zeros((0, classes)))[0])
