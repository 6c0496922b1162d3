"""The training loss of every batch, in the order of training, with its running mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..runs.stored_run import StoredRun
from .chart import Chart, colours, drawing, legend
from .words import Words

POINTS = 500  # of a line that is drawn; the table holds every batch
WINDOW = 50  # in so many parts of a line, its mean is taken


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
