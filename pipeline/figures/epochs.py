"""Loss, metric and learning rate over epochs: mean and deviation over folds; validation rows dotted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..metrics.tables import metric_title
from ..runs.stored_run import StoredRun
from .chart import Chart, colours, drawing, legend
from .words import Words

PARTS = {"train": ("training", "-"), "valid": ("validation", ":")}
RATE = "lr"  # the only column that belongs to neither
NAMES = {RATE: "learning rate"}


def epoch_charts(runs: Sequence[StoredRun], words: Words, metrics: Sequence[str]) -> list[Chart]:
    """One chart per metric, or for `lr` the learning rate, with the runs that store it."""
    charts = (_epoch_chart([run for run in runs if run.history], metric, words) for metric in metrics)
    return [chart for chart in charts if chart]


def _epoch_chart(runs: Sequence[StoredRun], metric: str, words: Words) -> Chart | None:
    rows: list[list[object]] = []
    handles, labels = [], []
    with drawing() as (figure, axes):
        for run, colour in zip(runs, colours(len(runs)), strict=True):
            for number, (column, part, name, line) in enumerate(_lines(metric)):
                epochs, means, deviations, counts = _over_epochs(run, column)
                if not len(epochs):
                    continue
                shade = colours(2)[number] if len(runs) == 1 else colour
                marker = "o" if len(epochs) == 1 else None
                (drawn,) = axes.plot(epochs, means, line, color=shade, marker=marker)
                axes.fill_between(epochs, means - deviations, means + deviations, color=shade, alpha=0.16, linewidth=0)
                handles.append(drawn)
                labels.append(words(name) if len(runs) == 1 else f"{run.name}, {words(name)}")
                rows += [[run.name, part, *one] for one in zip(epochs, means, deviations, counts, strict=True)]
        if not handles:
            return None
        axes.set_xlabel(words("epoch"))
        axes.set_ylabel(title := words(NAMES.get(metric) or metric_title(metric)))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend(axes, handles, labels, columns=2)
    return Chart(
        f"epochs-{metric}",
        words("{metric} over epochs").format(metric=title),
        words("At the last step of each epoch; mean over the heads of all folds.")
        if metric == RATE
        else words("Mean over the heads of all folds that still train; the band is one standard deviation."),
        figure,
        ["run", "rows", "epoch", "mean", "std", "heads"],
        rows,
    )


def _lines(metric: str) -> list[tuple[str, str, str, str]]:
    """The column, rows, name and style of each line of a metric."""
    if metric == RATE:
        return [(RATE, "train", "learning rate", "-")]
    return [(f"{part}_{metric}", part, *style) for part, style in PARTS.items()]


def _over_epochs(run: StoredRun, column: str) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64], list[int]]:
    """Epochs, and the mean, sample deviation and number of heads at each."""
    by_epoch: dict[int, list[float]] = {}
    for line in run.history:
        if column in line:
            by_epoch.setdefault(int(line["epoch"]), []).append(line[column])
    epochs = sorted(by_epoch)
    values = [np.array(by_epoch[epoch]) for epoch in epochs]
    deviations = [float(one.std(ddof=1)) if len(one) > 1 else 0.0 for one in values]
    return epochs, np.array([one.mean() for one in values]), np.array(deviations), [len(one) for one in values]
