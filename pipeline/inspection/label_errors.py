"""Likely label errors by confident learning: posts that heads which never saw them put into another class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def label_errors(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows (m,) whose label (n,) is likely wrong, the likeliest first, and the class (m,) of each instead.

    The off-diagonal of the confident joint of Northcutt, Jiang & Chuang (Confident Learning, JAIR 70, 2021):
    a class is confident in a row if its out-of-fold probability (n, K) is at least the mean of that probability over
    the rows of its label; the label is doubted if the most probable confident class is another one. Rows are in the
    order of the normalised margin, the probability of the label minus that of the other class.
    """
    n, classes = probabilities.shape
    own = labels[:, None] == np.arange(classes)  # (n, K)
    counts = own.sum(0)
    thresholds = np.where(counts > 0, (probabilities * own).sum(0) / np.maximum(counts, 1), np.inf)
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    other = confident.argmax(1)
    margin = probabilities[np.arange(n), labels] - probabilities[np.arange(n), other]
    rows = np.flatnonzero((confident.max(1) >= 0) & (other != labels))
    rows = rows[np.argsort(margin[rows], kind="stable")]
    return rows, other[rows]
