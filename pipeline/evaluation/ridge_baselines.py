"""What arithmetic alone reaches: ridge regression of all folds from one Gram matrix, and the nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..data.cached_features import CachedFeatures
from ..data.inputs import build_inputs
from ..data.split import Fold
from ..metrics.scores import METRICS, score, summarise
from .baselines import Labels, Matrix, baseline_guesses, pooled_matrix

ALPHAS = (3e3, 1e3, 3e2, 1e2, 3e1, 1e1)  # strongest penalty first, on columns of unit spread
NEIGHBOURS = (45, 15, 5, 1)
Wide = NDArray[np.float64]
Moments = tuple[Wide, Wide, Wide, Wide]


def floor(
    table: CachedFeatures, folds: Sequence[Fold], *, seed: int, metric: str = "accuracy"
) -> dict[str, dict[str, dict[str, float]]]:
    """The majority class, the nearest neighbours, ridge and the linear probe on pooled vectors: metrics over the folds.

    What each may choose (k, penalty) is chosen by `metric` on the validation rows.
    """
    matrix, labels, classes = pooled_matrix(build_inputs(table, tokens=False)), table.targets(), len(table.classes)
    guesses = baseline_guesses(table, folds, seed=seed, systems=("majority", "linear"))
    guesses["ridge"] = ridge_guesses(matrix, labels, folds, classes=classes, metric=metric)
    guesses["knn"] = [neighbour_guesses(matrix, labels, fold, classes=classes, metric=metric) for fold in folds]
    return {
        name: summarise(
            [score(labels[f.test], said, table.classes) for f, said in zip(folds, guesses[name], strict=True)]
        )
        for name in ("majority", "knn", "ridge", "linear")
    }


def ridge_guesses(
    matrix: Matrix,
    labels: Labels,
    folds: Sequence[Fold],
    *,
    classes: int,
    metric: str = "accuracy",
    alphas: Sequence[float] = ALPHAS,
) -> list[Labels]:
    """What a ridge classifier says of each fold's test rows: class indices (n,).

    `matrix` (N, D) as from `pooled_matrix`. Least squares to ±1 per class with an intercept, columns in units of
    their spread. The penalty is the one with the best `metric` on the validation rows.

    Raises ValueError on an unknown metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    # Gaps become 0, which the last two columns mark: what stands in a gap is then learned from training rows alone.
    filled = np.nan_to_num(matrix)
    targets = 2.0 * np.eye(classes, dtype=np.float32)[np.maximum(labels, 0)] - 1
    found = []
    for fold, sums in zip(folds, training_moments(filled, targets, folds), strict=True):
        best, chosen = -np.inf, np.empty(0, np.int64)
        for model in ridge_models(*sums, rows=len(fold.train), alphas=alphas):
            value = score(labels[fold.valid], _say(filled[fold.valid], model), range(classes))[metric]
            if value < best:  # a weaker penalty only gets worse from here
                break
            if value > best:
                best, chosen = value, _say(filled[fold.test], model)
        found.append(chosen)
    return found


def training_moments(x: Matrix, y: Matrix, folds: Sequence[Fold]) -> list[Moments]:
    """XᵀX (D, D), XᵀY (D, K), the sums of X (D,) and of Y (K,) over each fold's training rows.

    Rows that train the same folds are multiplied once, and added to those: no fold costs a product of its own, and
    none has to take away again, to the last bit, what it must not see.
    """
    trains = np.stack([np.isin(np.arange(len(x)), fold.train) for fold in folds], 1)  # (N, F)
    patterns, which = np.unique(trains, axis=0, return_inverse=True)
    width, classes = x.shape[1], y.shape[1]
    sums = [tuple(map(np.zeros, ((width, width), (width, classes), width, classes))) for _ in folds]
    for number, pattern in enumerate(patterns):
        mine = which.ravel() == number
        if not pattern.any():
            continue
        part = x[mine].T @ x[mine], x[mine].T @ y[mine], x[mine].sum(0, np.float64), y[mine].sum(0, np.float64)
        for fold in np.flatnonzero(pattern):
            for total, addend in zip(sums[fold], part, strict=True):
                total += addend
    return sums  # type: ignore[return-value]


def ridge_models(
    gram: Wide, cross: Wide, x_sum: Wide, y_sum: Wide, *, rows: int, alphas: Sequence[float]
) -> Iterator[tuple[Matrix, Wide]]:
    """Weights (D, K) and intercept (K,) for one penalty after another, from the moments of `rows` training rows."""
    from scipy.linalg import cho_factor, cho_solve

    x_mean, y_mean = x_sum / rows, y_sum / rows
    spread = np.sqrt(np.maximum(np.diag(gram) / rows - x_mean**2, 0))
    spread = np.where(spread > 1e-5, spread, 1.0)
    centred = ((gram - rows * np.outer(x_mean, x_mean)) / np.outer(spread, spread)).astype(np.float32)
    aim = ((cross - rows * np.outer(x_mean, y_mean)) / spread[:, None]).astype(np.float32)
    for alpha in alphas:
        penalised = centred.copy()
        penalised[np.diag_indices_from(penalised)] += alpha
        solved = cho_solve(cho_factor(penalised, overwrite_a=True, check_finite=False), aim, check_finite=False)
        weights = (solved / spread[:, None]).astype(np.float32)
        yield weights, y_mean - x_mean @ weights


def _say(x: Matrix, model: tuple[Matrix, Wide]) -> Labels:
    weights, intercept = model
    return np.asarray((x @ weights + intercept).argmax(1), np.int64)


def neighbour_guesses(matrix: Matrix, labels: Labels, fold: Fold, *, classes: int, metric: str = "accuracy") -> Labels:
    """What the nearest training rows say by majority: class indices (n,). Nearness is the cosine after centring.

    How many rows vote is chosen by `metric` on the validation rows.
    """
    filled = np.nan_to_num(matrix)
    filled = filled - filled[fold.train].mean(0)
    filled /= np.maximum(np.linalg.norm(filled, axis=1, keepdims=True), 1e-12)
    most = min(max(NEIGHBOURS), len(fold.train))
    votes = {}
    for name, rows in (("stop", fold.valid), ("score", fold.test)):
        likeness = filled[rows] @ filled[fold.train].T
        nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :most]
        votes[name] = np.eye(classes)[labels[fold.train][nearest]].cumsum(1)  # (n, most, K)
    counts = [count for count in NEIGHBOURS if count <= most]
    stops = [
        score(labels[fold.valid], votes["stop"][:, count - 1].argmax(1), range(classes))[metric] for count in counts
    ]
    return np.asarray(votes["score"][:, counts[int(np.argmax(stops))] - 1].argmax(1), np.int64)
