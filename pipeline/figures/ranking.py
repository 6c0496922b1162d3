"""ROC and precision-recall curves by scikit-learn, each class against the rest; the reliability diagram."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

from ..metrics.statistics import Bin
from ..runs.stored_run import StoredRun
from .chart import GRID, Chart, colours, drawing, legend
from .words import Words

Drawn = tuple[str, NDArray[np.float64], NDArray[np.float64]]  # the score as text, x and y of the points
Curves = list[tuple[str, NDArray[np.bool_], NDArray[np.float64]]]  # name, whether true (n,), probability (n,)


def ranking_charts(runs: Sequence[StoredRun], words: Words) -> list[Chart]:
    """Both charts; none without predictions of rows inside and outside a class."""
    curves = list(_curves([run for run in runs if run.predictions], words))
    if not curves:
        return []
    what = words("Each class against all others.") if len(runs) == 1 else words("Micro-average over the classes.")
    return [_roc_chart(curves, words, what), _precision_recall_chart(curves, words, what)]


def _curves(runs: Sequence[StoredRun], words: Words) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.float64]]]:
    for run in runs:
        assert run.predictions
        found = run.predictions
        true = found.truth[:, None] == np.arange(len(found.classes))  # (n, K)
        if len(runs) > 1:
            yield run.name, true.ravel(), found.probabilities.ravel()
            continue
        for number, name in enumerate(found.classes):
            if 0 < true[:, number].sum() < len(true):
                yield name, true[:, number], found.probabilities[:, number]


def _roc_chart(curves: Curves, words: Words, what: str) -> Chart:
    def draw(true: NDArray[np.bool_], probability: NDArray[np.float64], axes: Any) -> Drawn:
        shown = RocCurveDisplay.from_predictions(true, probability, ax=axes)
        return f"{words('area')} {shown.roc_auc:.3f}", shown.fpr, shown.tpr

    with drawing() as (figure, axes):
        axes.plot([0, 1], [0, 1], color=GRID, linestyle="--", linewidth=1)
        rows = _draw(curves, draw, axes)
        axes.set(xlabel=words("false positive rate"), ylabel=words("true positive rate"))
    header = ["curve", "false_positive_rate", "true_positive_rate"]
    return Chart("roc", words("ROC curves"), what, figure, header, rows)


def _precision_recall_chart(curves: Curves, words: Words, what: str) -> Chart:
    def draw(true: NDArray[np.bool_], probability: NDArray[np.float64], axes: Any) -> Drawn:
        shown = PrecisionRecallDisplay.from_predictions(true, probability, ax=axes, drop_intermediate=True)
        return f"{words('average precision')} {shown.average_precision:.3f}", shown.recall, shown.precision

    with drawing() as (figure, axes):
        rows = _draw(curves, draw, axes)
        axes.set(xlabel=words("recall"), ylabel=words("precision"))
    header = ["curve", "recall", "precision"]
    return Chart("precision-recall", words("Precision-recall curves"), what, figure, header, rows)


def _draw(curves: Curves, draw: Callable[..., Drawn], axes: Any) -> list[list[object]]:
    """Draw each curve in its colour, with its score in the legend; return its points, one row each."""
    rows: list[list[object]] = []
    handles, labels = [], []
    for (name, true, probability), colour in zip(curves, colours(len(curves)), strict=True):
        score, *points = draw(true, probability, axes)
        handles.append(axes.lines[-1])
        axes.lines[-1].set_color(colour)
        labels.append(f"{name}: {score}")
        rows += [[name, *point] for point in zip(*points, strict=True)]
    legend(axes, handles, labels, columns=2)
    return rows


def calibration_charts(runs: Sequence[StoredRun], words: Words) -> list[Chart]:
    """One chart: of one run before and after temperature scaling, of several after it."""
    lines: list[tuple[str, str, float, list[Bin]]] = []
    measured = [(run.name, run.evaluation.calibration) for run in runs if run.evaluation]
    for name, one in measured:
        before = (name, words("uncalibrated"), one.before, one.bins_before)
        after = (name, words("temperature-scaled"), one.after, one.bins_after)
        lines += [before, after] if len(measured) == 1 else [after]
    if not lines:
        return []
    with drawing() as (figure, axes):
        axes.plot([0, 1], [0, 1], color=GRID, linestyle="--", linewidth=1)
        handles = [
            axes.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o-", markersize=3.5, color=colour)[0]
            for (*_, bins), colour in zip(lines, colours(len(lines)), strict=True)
        ]
        labels = [
            f"{kind if len(measured) == 1 else name}: {words('error')} {error:.3f}" for name, kind, error, _ in lines
        ]
        legend(axes, handles, labels)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=words("confidence"), ylabel=words("accuracy"))
    rows = [[name, kind, b.rows, b.confidence, b.accuracy] for name, kind, _, bins in lines for b in bins]
    return [
        Chart(
            "calibration",
            words("Calibration"),
            words(
                "On the dashed line a prediction is right as often as its probability says. The temperature of each "
                "fold is fitted on its validation rows."
            ),
            figure,
            ["run", "probabilities", "rows", "confidence", "accuracy"],
            rows,
        )
    ]
