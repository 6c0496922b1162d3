"""Loss, metric and learning rate over epochs, mean and deviation over folds; the loss of every batch."""

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
POINTS = 500  # of a line that is drawn; the table holds every batch
WINDOW = 50  # in so many parts of a line, its mean is taken


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


def batch_charts(runs: Sequence[StoredRun], words: Words) -> list[Chart]:
    """One chart of the first head of each run that stores its batches."""
    found = [(run, run.batches) for run in runs if len(run.batches)]
    if not found:
        return []
    rows: list[list[object]] = []
    handles, labels = [], []
    with drawing() as (figure, axes):
        for (run, batches), colour in zip(found, colours(len(found)), strict=True):
            first = batches[(batches[:, :2] == batches[0, :2]).all(1)]  # of one fold and member
            losses, steps = first[:, 4], np.arange(1, len(first) + 1)
            shown = np.unique(np.linspace(0, len(steps) - 1, POINTS).astype(int))
            axes.plot(steps[shown], losses[shown], color=colour, alpha=0.35, linewidth=0.8)
            means = running_mean(losses, max(1, len(losses) // WINDOW))
            handles += axes.plot(steps[shown], means[shown], color=colour)
            labels.append(words("running mean") if len(found) == 1 else run.name)
            rows += [
                [run.name, int(epoch), step, loss]
                for (*_, epoch, _, loss), step in zip(first.tolist(), steps.tolist(), strict=True)
            ]
        axes.set_xlabel(words("batch"))
        axes.set_ylabel(words("loss"))
        legend(axes, handles, labels, columns=2)
    caption = words("Training loss of each batch of the first fold's head, and its running mean.")
    return [Chart("batches-loss", words("Loss over batches"), caption, figure, ["run", "epoch", "batch", "loss"], rows)]


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The mean of each value (n,) and up to `window` - 1 before it (n,)."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return np.asarray((total[ends] - total[starts]) / (ends - starts))
