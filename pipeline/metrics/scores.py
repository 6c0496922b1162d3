"""Scores of predicted classes: named metrics, per class, and their summary over folds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Summary = dict[str, dict[str, float]]  # mean and std of each metric


class ClassScore(TypedDict):
    """Precision, recall and F1 (0 to 1) of one class, and its support: the number of rows with that true class."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


def accuracy(counts: NDArray[Any]) -> Floats:
    """Accuracy of each confusion matrix (…, K, K), true class first: (…)."""
    return np.asarray(counts.trace(axis1=-2, axis2=-1) / counts.sum((-2, -1)))


def macro_f1(counts: NDArray[Any]) -> Floats:
    """Mean F1 over all K classes of each confusion matrix (…, K, K): (…). A class without rows counts as 0."""
    return np.asarray(_f1(counts).mean(-1))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Divide; 0 where the divisor is 0."""
    ratios: Floats = np.divide(part, whole, out=np.zeros(whole.shape), where=whole > 0)
    return ratios


def _recall(counts: Counts) -> Floats:
    return _ratio(counts.diagonal(), counts.sum(1))


def _f1(counts: NDArray[Any]) -> Floats:
    return _ratio(2 * counts.diagonal(axis1=-2, axis2=-1), counts.sum(-2) + counts.sum(-1))


def _balanced_accuracy(counts: Counts) -> float:
    return float(_recall(counts)[counts.sum(1) > 0].mean())


def _weighted_f1(counts: Counts) -> float:
    return float(np.average(_f1(counts), weights=counts.sum(1)))


def _mcc(counts: Counts) -> float:
    true, predicted, rows = counts.sum(1), counts.sum(0), int(counts.sum())
    spread = float(rows**2 - predicted @ predicted) * float(rows**2 - true @ true)
    return float(counts.trace() * rows - true @ predicted) / math.sqrt(spread) if spread else 0.0


# Computed from the confusion counts (K, K), since five scikit-learn calls take longer than a training epoch.
METRICS: dict[str, Callable[[Counts], float | Floats]] = {
    "accuracy": accuracy,
    "balanced_accuracy": _balanced_accuracy,  # over the classes that have true rows
    "macro_f1": macro_f1,
    "weighted_f1": _weighted_f1,
    "mcc": _mcc,
}


def _mae(counts: Counts) -> float:
    return float((counts * _distance(len(counts))).sum() / counts.sum())


def _qwk(counts: Counts) -> float:
    squared, rows = _distance(len(counts)) ** 2, counts.sum()
    expected = float((np.outer(counts.sum(1), counts.sum(0)) / rows * squared).sum())
    return 1 - float((counts * squared).sum()) / expected if expected else 0.0


def _distance(classes: int) -> Counts:
    """The steps between two classes: (K, K)."""
    return np.abs(np.subtract.outer(np.arange(classes), np.arange(classes)))


# Only of classes that have an order: the mean absolute error in steps, 0 at best, and the quadratic weighted kappa of
# Cohen (1968), 1 at best and 0 where predictions do not depend on the truth.
ORDINAL_METRICS: dict[str, Callable[[Counts], float]] = {"mae": _mae, "qwk": _qwk}
LOWER_IS_BETTER = frozenset({"mae"})


def confusion(y_true: ArrayLike, y_pred: ArrayLike, classes: Sequence[object]) -> Counts:
    """Count rows by true class (first axis) and predicted class (second): (K, K).

    `y_true` and `y_pred` (n,) hold positions in `classes`.

    Raises ValueError when they are not integers (probabilities, for example), differ in length, are empty, or hold an
    index that is out of range.
    """
    true, pred = _indices("y_true", y_true, len(classes)), _indices("y_pred", y_pred, len(classes))
    if len(true) != len(pred):
        raise ValueError(f"y_true has {len(true)} rows and y_pred {len(pred)}; score the same rows")
    if not len(true):
        raise ValueError("there is no row to score; choose a split that has labelled rows")
    k = len(classes)
    return np.bincount(true * k + pred, minlength=k * k).reshape(k, k).astype(np.int64)


def score(
    y_true: ArrayLike, y_pred: ArrayLike, classes: Sequence[object], *, ordered: bool = False
) -> dict[str, float]:
    """Return every metric of METRICS, of `ordered` classes also those of ORDINAL_METRICS.

    `y_true` and `y_pred` (n,) and errors as in `confusion`.
    """
    counts = confusion(y_true, y_pred, classes)
    return {name: float(metric(counts)) for name, metric in (METRICS | (ORDINAL_METRICS if ordered else {})).items()}


def per_class(y_true: ArrayLike, y_pred: ArrayLike, classes: Sequence[str]) -> list[ClassScore]:
    """Score each class, in the order of `classes`; `y_true` and `y_pred` (n,) and errors as in `confusion`."""
    counts = confusion(y_true, y_pred, classes)
    precision, recall, f1 = _ratio(counts.diagonal(), counts.sum(0)), _recall(counts), _f1(counts)
    columns = (column.tolist() for column in (precision, recall, f1, counts.sum(1)))
    return [
        ClassScore(label=label, precision=p, recall=r, f1=f, support=n)
        for label, p, r, f, n in zip(classes, *columns, strict=True)
    ]


def summarise(folds: Sequence[Mapping[str, float]]) -> Summary:
    """Return each metric's mean and sample standard deviation over the folds (0 for one fold).

    Raises ValueError when there is no fold or when the folds hold different metrics.
    """
    if not folds or any(fold.keys() != folds[0].keys() for fold in folds):
        raise ValueError(f"wanted the same metrics of every fold, got {[sorted(fold) for fold in folds]!r}")
    summary = {}
    for name in folds[0]:
        values = np.array([fold[name] for fold in folds])
        std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        summary[name] = {"mean": float(values.mean()), "std": std}
    return summary


def _indices(name: str, values: ArrayLike, classes: int) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(
            f"{name} must be a vector of class indices, got {array.dtype} of shape {array.shape}; "
            "take the argmax of probabilities or logits first"
        )
    array = array.astype(np.int64)
    if array.size and (array.min() < 0 or array.max() >= classes):
        raise ValueError(
            f"{name} must lie in 0..{classes - 1}, got {array.min()}..{array.max()}; leave unlabelled rows out"
        )
    return array
