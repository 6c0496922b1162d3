"""Ensemble selection from a library of models (Caruana et al., 2004), by their predictions of rows they never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..data.split import Fold
from ..metrics.scores import METRICS, confusion

MOST_FIRST = 25  # models that a selection begins with; the paper begins with 5 to 25
STEPS = 50  # models that are then added, one by one
Labels = NDArray[np.int64]


def greedy_selection(
    probabilities: NDArray[np.floating], value: Callable[[Labels], float], *, steps: int = STEPS
) -> Labels:
    """How often each of M models is picked (M,), given their probabilities (M, n, K), the best model first.

    `value` scores predicted classes (n,). The selection begins with the best N models, N the one with the highest value
    (sorted initialisation). Then each step adds the model, perhaps again, that the mean of all picked ones gains most
    from. The result is the best of all ensembles on the way, the smallest of equals.
    """
    sums = np.cumsum(probabilities[:MOST_FIRST], 0, dtype=np.float64)  # (N, n, K)
    first = [value(one.argmax(1)) for one in sums]
    begin = int(np.argmax(first))
    counts = (np.arange(len(probabilities)) <= begin).astype(np.int64)
    total, best, chosen = sums[begin].copy(), first[begin], counts.copy()
    for _ in range(steps):
        values = [value((total + one).argmax(1)) for one in probabilities]
        added = int(np.argmax(values))
        counts[added] += 1
        total += probabilities[added]
        if values[added] > best:
            best, chosen = values[added], counts.copy()
    return chosen


def mean_over_folds(
    truth: Labels, folds: Sequence[Fold], metric: str, classes: Sequence[str]
) -> Callable[[Labels], float]:
    """The mean of a metric over folds, of classes predicted for their test rows, fold after fold.

    `truth` (N,) are the labels of all posts; those of other rows are not read.
    """
    labels = [truth[fold.test] for fold in folds]
    cuts = np.cumsum([len(one) for one in labels])[:-1]

    def value(predicted: Labels) -> float:
        parts = zip(labels, np.split(predicted, cuts), strict=True)
        return float(np.mean([METRICS[metric](confusion(*pair, classes)) for pair in parts]))

    return value
