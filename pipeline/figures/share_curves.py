"""Learning curves, and curves over the share of posts that lack a modality."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import PercentFormatter

from ..metrics.statistics import INTERVAL_METRICS
from ..metrics.tables import metric_title
from ..runs.stored_run import StoredRun
from .chart import Chart, colours, drawing, legend
from .words import Words


def share_charts(runs: Sequence[StoredRun], words: Words) -> list[Chart]:
    """One chart per kind of curve and metric."""
    charts = []
    for kind, name in (("missing", "missing"), ("system", "learning")):
        found = [run for run in runs if run.curve and run.curve_of == kind]
        charts += [_share_chart(found, name, metric, words) for metric in INTERVAL_METRICS if found]
    return charts


def _share_chart(runs: Sequence[StoredRun], kind: str, metric: str, words: Words) -> Chart:
    missing = kind == "missing"
    lines = [(run, line) for run in runs for line in dict.fromkeys(point.line for point in run.curve)]
    rows: list[list[object]] = []
    handles, labels = [], []
    with drawing() as (figure, axes):
        for (run, line), colour in zip(lines, colours(len(lines)), strict=True):
            points = [point for point in run.curve if point.line == line]
            where = [point.share if missing else point.posts for point in points]
            values = [[point.metrics[metric][part] for point in points] for part in ("mean", "std")]
            means, deviations = np.array(values)
            handles += axes.plot(where, means, "o-", markersize=3, color=colour)
            axes.fill_between(where, means - deviations, means + deviations, color=colour, alpha=0.16, linewidth=0)
            name = words(line) if missing else line
            labels.append(name if len(runs) == 1 else f"{run.name}, {name}")
            rows += [[run.name, line, point.share, point.posts, *point.metrics[metric].values()] for point in points]
        axes.set_ylabel(words(metric_title(metric)))
        axes.set_xlabel(words("test posts without the modality") if missing else words("training rows"))
        if missing:
            axes.xaxis.set_major_formatter(PercentFormatter(1))
        legend(axes, handles, labels, columns=2)
    title = words("{metric} as a modality goes missing") if missing else words("{metric} by training rows")
    return Chart(
        f"{kind}-{metric}",
        title.format(metric=words(metric_title(metric))),
        words("Mean over folds; the band is one standard deviation to each side."),
        figure,
        ["run", "line", "share", "posts", "mean", "std"],
        rows,
    )
