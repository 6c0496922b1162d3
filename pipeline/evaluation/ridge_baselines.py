"""Fast baselines of a sweep: closed-form ridge regression and nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.cached_features import CachedFeatures
from ..data.inputs import build_inputs
from ..data.split import Fold
from ..metrics.scores import METRICS, Summary, score, summarise
from .baselines import Labels, Matrix, baseline_predictions, pooled_matrix, standardised
from .comparison import score_folds

ALPHAS = (3e3, 1e3, 3e2, 1e2, 3e1, 1e1)  # strongest penalty first, on columns of unit variance
NEIGHBOURS = (45, 15, 5, 1)


def baseline_metrics(
    table: CachedFeatures, folds: Sequence[Fold], *, seed: int, metric: str = "accuracy"
) -> dict[str, Summary]:
    """Metrics over the folds of the majority class, nearest neighbours, ridge and the linear probe on pooled vectors.

    Their settings (k, penalty) are chosen by `metric` on the validation rows.
    """
    matrix, labels, classes = pooled_matrix(build_inputs(table, tokens=False)), table.targets(), len(table.classes)
    predictions = baseline_predictions(table, folds, seed=seed, systems=("majority", "linear"))
    predictions["ridge"] = ridge_predictions(matrix, labels, folds, classes=classes, metric=metric)
    predictions["knn"] = [neighbour_predictions(matrix, labels, fold, classes=classes, metric=metric) for fold in folds]
    return {
        name: summarise(score_folds(labels, folds, predictions[name], table.classes))
        for name in ("majority", "knn", "ridge", "linear")
    }


def ridge_predictions(
    matrix: Matrix,
    labels: Labels,
    folds: Sequence[Fold],
    *,
    classes: int,
    metric: str = "accuracy",
    alphas: Sequence[float] = ALPHAS,
) -> list[Labels]:
    """Predictions of a ridge classifier for each fold's test rows: class indices (n,).

    `matrix` (N, D) as from `pooled_matrix`. Least squares to ±1 per class with an intercept, on standardised columns.
    The penalty is the one with the best `metric` on the validation rows.

    Raises ValueError on an unknown metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    from scipy.linalg import solve

    # Missing vectors become 0, and the last two columns mark them, so their effect is learned from training rows only.
    filled, signs = np.nan_to_num(matrix), 2 * np.eye(classes, dtype=np.float32)[np.maximum(labels, 0)] - 1
    found = []
    for fold in folds:
        train, valid, test = standardised(filled, fold)
        intercept = signs[fold.train].mean(0)  # (K,)
        moments, targets = train.T @ train, train.T @ (signs[fold.train] - intercept)  # (D, D), (D, K)
        best, chosen = -np.inf, np.empty(0, np.int64)
        for alpha in alphas:
            weights = solve(moments + alpha * np.eye(len(moments), dtype=np.float32), targets, assume_a="pos")  # (D, K)
            value = score(labels[fold.valid], (valid @ weights + intercept).argmax(1), range(classes))[metric]
            if value < best:  # weaker penalties rarely score better from here on
                break
            if value > best:
                best, chosen = value, (test @ weights + intercept).argmax(1)
        found.append(chosen)
    return found


def neighbour_predictions(
    matrix: Matrix, labels: Labels, fold: Fold, *, classes: int, metric: str = "accuracy"
) -> Labels:
    """Majority vote of the k nearest training rows by cosine similarity after centring: class indices (n,).

    k is chosen by `metric` on the validation rows.
    """
    filled = np.nan_to_num(matrix)
    filled = filled - filled[fold.train].mean(0)
    filled /= np.maximum(np.linalg.norm(filled, axis=1, keepdims=True), 1e-12)
    most = min(max(NEIGHBOURS), len(fold.train))

    def votes(rows: Labels) -> Matrix:
        similarity = filled[rows] @ filled[fold.train].T
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
        return np.eye(classes, dtype=np.float32)[labels[fold.train][nearest]].cumsum(1)  # (n, most, K)

    counts = [count for count in NEIGHBOURS if count <= most]
    valid = votes(fold.valid)
    scores = [score(labels[fold.valid], valid[:, count - 1].argmax(1), range(classes))[metric] for count in counts]
    return np.asarray(votes(fold.test)[:, counts[int(np.argmax(scores))] - 1].argmax(1), np.int64)
