"""Fast baselines of a sweep: closed-form ridge regression and nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from ..metrics.scores import METRICS, Summary, score, summarise
from .baselines import PROBE_ROWS, SVM_ROWS, Labels, baseline_predictions
from .comparison import score_folds
from .pooled_rows import Matrix, PooledRows, Standardised

ALPHAS = (3e3, 1e3, 3e2, 1e2, 3e1, 1e1)  # strongest penalty first, on columns of unit variance
EVAL_ROWS = 1024  # compared with all training rows at once, where features are mapped
NEIGHBOURS = (45, 15, 5, 1)


def baseline_metrics(
    table: CachedFeatures, folds: Sequence[Fold], *, seed: int, metric: str = "accuracy"
) -> dict[str, Summary]:
    """Metrics over the folds of the majority class, nearest neighbours, ridge and the linear probe on pooled vectors.

    Their settings (k, penalty) are chosen by `metric` on the validation rows.
    """
    (matrix, _), labels, classes = PooledRows.of(table), table.targets(), len(table.classes)
    predictions = baseline_predictions(table, folds, seed=seed, systems=("majority", "linear"))
    predictions["ridge"] = ridge_predictions(matrix, labels, folds, classes=classes, metric=metric)
    predictions["knn"] = [neighbour_predictions(matrix, labels, fold, classes=classes, metric=metric) for fold in folds]
    return {
        name: summarise(score_folds(labels, folds, predictions[name], table.classes))
        for name in ("majority", "knn", "ridge", "linear")
    }


def ridge_predictions(
    matrix: Matrix | PooledRows,
    labels: Labels,
    folds: Sequence[Fold],
    *,
    classes: int,
    metric: str = "accuracy",
    alphas: Sequence[float] = ALPHAS,
) -> list[Labels]:
    """Predictions of a ridge classifier for each fold's test rows: class indices (n,).

    `matrix` (N, D) as from `pooled_matrix`. Least squares to ±1 per class with an intercept, on standardised columns.
    The penalty is the one with the best `metric` on the validation rows. Rows that do not fit into memory are added up
    block by block; the scale of the columns is then that of some of them.

    Raises ValueError on an unknown metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    from scipy.linalg import solve

    # Missing vectors become 0, and the last two columns mark them, so their effect is learned from training rows only.
    filled, signs = (
        replace(PooledRows.over(matrix), zeros=True),
        2 * np.eye(classes, dtype=np.float32)[np.maximum(labels, 0)] - 1,
    )
    found = []
    for fold in folds:
        few = filled.fewer(fold, PROBE_ROWS)
        scaled = Standardised(filled, few.train)
        valid = scaled[few.valid]
        intercept = signs[fold.train].mean(0)  # (K,)
        moments, targets = _products(scaled, fold.train, signs - intercept)
        best, chosen = -np.inf, np.empty(0, np.float32)
        for alpha in alphas:
            weights = solve(moments + alpha * np.eye(len(moments), dtype=np.float32), targets, assume_a="pos")  # (D, K)
            value = score(labels[few.valid], (valid @ weights + intercept).argmax(1), range(classes))[metric]
            if value < best:  # weaker penalties rarely score better from here on
                break
            if value > best:
                best, chosen = value, weights
        found.append(np.concatenate([(block @ chosen + intercept).argmax(1) for block in scaled.blocks(fold.test)]))
    return found


def _products(scaled: Standardised, rows: Labels, targets: Matrix) -> tuple[Matrix, Matrix]:
    """XᵀX (D, D) and XᵀY (D, K) of some rows of a matrix and of targets (N, K), added up over blocks."""
    width = scaled.matrix.width
    moments, products = np.zeros((width, width), np.float32), np.zeros((width, targets.shape[1]), np.float32)
    for some in scaled.matrix.blocks(rows):
        x = scaled[some]
        moments += x.T @ x
        products += x.T @ targets[some]
    return moments, products


def neighbour_predictions(
    matrix: Matrix | PooledRows, labels: Labels, fold: Fold, *, classes: int, metric: str = "accuracy"
) -> Labels:
    """Majority vote of the k nearest training rows by cosine similarity after centring: class indices (n,).

    k is chosen by `metric` on the validation rows. Of rows that do not fit into memory some are searched.
    """
    filled = replace(PooledRows.over(matrix), zeros=True)
    few = filled.fewer(fold, SVM_ROWS)
    train = filled[few.train]
    centre = train.mean(0)

    def directions(x: Matrix) -> Matrix:
        centred = x - centre
        unit: Matrix = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        return unit

    train = directions(train)
    most = min(max(NEIGHBOURS), len(train))

    def votes(rows: Labels) -> Matrix:
        similarity = directions(filled[rows]) @ train.T
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
        return np.eye(classes, dtype=np.float32)[labels[few.train][nearest]].cumsum(1)  # (n, most, K)

    counts = [count for count in NEIGHBOURS if count <= most]
    valid = votes(few.valid)
    scores = [score(labels[few.valid], valid[:, count - 1].argmax(1), range(classes))[metric] for count in counts]
    k = counts[int(np.argmax(scores))]
    step = len(fold.test) if not filled.at_once else min(filled.at_once, EVAL_ROWS)
    blocks = (fold.test[start : start + step] for start in range(0, len(fold.test), step))
    return np.concatenate([votes(some)[:, k - 1].argmax(1) for some in blocks])
