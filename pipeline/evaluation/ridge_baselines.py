"""Fast baselines of a sweep: closed-form ridge regression of all folds together, and nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..data.cached_features import CachedFeatures
from ..data.inputs import build_inputs
from ..data.split import Fold
from ..metrics.scores import METRICS, score, summarise
from .baselines import Labels, Matrix, baseline_predictions, pooled_matrix
from .comparison import score_folds

ALPHAS = (3e3, 1e3, 3e2, 1e2, 3e1, 1e1)  # strongest penalty first, on columns of unit variance
NEIGHBOURS = (45, 15, 5, 1)
Wide = NDArray[np.float64]
Moments = tuple[Wide, Wide, Wide, Wide]


def baseline_metrics(
    table: CachedFeatures, folds: Sequence[Fold], *, seed: int, metric: str = "accuracy"
) -> dict[str, dict[str, dict[str, float]]]:
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
    # Missing vectors become 0, and the last two columns mark them, so their effect is learned from training rows only.
    filled = np.nan_to_num(matrix)
    targets = 2.0 * np.eye(classes, dtype=np.float32)[np.maximum(labels, 0)] - 1
    found = []
    for fold, sums in zip(folds, training_moments(filled, targets, folds), strict=True):
        best, chosen = -np.inf, np.empty(0, np.int64)
        for model in ridge_models(*sums, rows=len(fold.train), alphas=alphas):
            value = score(labels[fold.valid], _predict(filled[fold.valid], model), range(classes))[metric]
            if value < best:  # weaker penalties rarely score better from here on
                break
            if value > best:
                best, chosen = value, _predict(filled[fold.test], model)
        found.append(chosen)
    return found


def training_moments(x: Matrix, y: Matrix, folds: Sequence[Fold]) -> list[Moments]:
    """XᵀX (D, D), XᵀY (D, K), the sums of X (D,) and of Y (K,) over each fold's training rows.

    Rows that train the same folds are multiplied once and added to those folds. That saves a product per fold, and
    avoids subtracting the held-out rows, which would leave rounding errors that depend on them.
    """
    trains = np.stack([np.isin(np.arange(len(x)), fold.train) for fold in folds], 1)  # (N, F)
    patterns, which = np.unique(trains, axis=0, return_inverse=True)
    width, classes = x.shape[1], y.shape[1]
    sums = [tuple(map(np.zeros, ((width, width), (width, classes), width, classes))) for _ in folds]
    for number, pattern in enumerate(patterns):
        if not pattern.any():
            continue
        xs, ys = x[which.ravel() == number], y[which.ravel() == number]
        part = xs.T @ xs, xs.T @ ys, xs.sum(0, np.float64), ys.sum(0, np.float64)
        for fold in np.flatnonzero(pattern):
            for total, addend in zip(sums[fold], part, strict=True):
                total += addend
    return sums  # type: ignore[return-value]


def ridge_models(
    gram: Wide, cross: Wide, x_sum: Wide, y_sum: Wide, *, rows: int, alphas: Sequence[float]
) -> Iterator[tuple[Matrix, Wide]]:
    """Weights (D, K) and intercept (K,) for each penalty in turn, from the moments of `rows` training rows."""
    from scipy.linalg import cho_factor, cho_solve

    x_mean, y_mean = x_sum / rows, y_sum / rows
    scale = np.sqrt(np.maximum(np.diag(gram) / rows - x_mean**2, 0))
    scale = np.where(scale > 1e-5, scale, 1.0)
    centred = ((gram - rows * np.outer(x_mean, x_mean)) / np.outer(scale, scale)).astype(np.float32)
    target = ((cross - rows * np.outer(x_mean, y_mean)) / scale[:, None]).astype(np.float32)
    for alpha in alphas:
        penalised = centred.copy()
        penalised[np.diag_indices_from(penalised)] += alpha
        solved = cho_solve(cho_factor(penalised, overwrite_a=True, check_finite=False), target, check_finite=False)
        weights = (solved / scale[:, None]).astype(np.float32)
        yield weights, y_mean - x_mean @ weights


def _predict(x: Matrix, model: tuple[Matrix, Wide]) -> Labels:
    weights, intercept = model
    return np.asarray((x @ weights + intercept).argmax(1), np.int64)


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

    def votes(rows: Labels) -> Wide:
        similarity = filled[rows] @ filled[fold.train].T
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
        return np.eye(classes)[labels[fold.train][nearest]].cumsum(1)  # (n, most, K)

    counts = [count for count in NEIGHBOURS if count <= most]
    valid = votes(fold.valid)
    scores = [score(labels[fold.valid], valid[:, count - 1].argmax(1), range(classes))[metric] for count in counts]
    return np.asarray(votes(fold.test)[:, counts[int(np.argmax(scores))] - 1].argmax(1), np.int64)
