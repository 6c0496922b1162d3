"""Heads beside their baselines: the main metrics, with their deviation over folds."""

from __future__ import annotations

from collections.abc import Sequence

from ..metrics.scores import Summary
from ..metrics.statistics import INTERVAL_METRICS
from ..metrics.tables import metric_title
from ..runs.stored_run import StoredRun
from .bars import bar_chart
from .chart import Chart
from .words import Words


def systems(runs: Sequence[StoredRun]) -> dict[str, Summary]:
    """The metrics of the head of each run; of one run, or one sweep, those of the baselines, too."""
    evaluated = [(run.name, run.evaluation) for run in runs if run.evaluation]
    if len(evaluated) == 1:
        found = evaluated[0][1]
        return {found.fusion: found.metrics} | found.baselines
    if len(runs) == 1 and runs[0].sweep:
        winner: dict[str, Summary] = {"winner": runs[0].sweep["outer"]["metrics"]}
        baselines: dict[str, Summary] = runs[0].sweep["baselines"]
        return winner | baselines
    return {name: found.metrics for name, found in evaluated}


def system_charts(runs: Sequence[StoredRun], words: Words) -> list[Chart]:
    """One chart; none where nothing is evaluated."""
    found = systems(runs)
    if not found:
        return []
    rows = [
        [system, metric, metrics[metric]["mean"], metrics[metric]["std"]]
        for system, metrics in found.items()
        for metric in INTERVAL_METRICS
    ]
    bars, bounds = {}, {}
    for metric in INTERVAL_METRICS:
        values = [(one[metric]["mean"], one[metric]["std"]) for one in found.values()]
        bars[words(metric_title(metric))] = [mean for mean, _ in values]
        bounds[words(metric_title(metric))] = [(mean - std, mean + std) for mean, std in values]
    figure = bar_chart(list(found), bars, axis=words("score"), limits=(0, 1), bounds=bounds)
    caption = words("Mean over folds; the line is one standard deviation to each side.")
    return [Chart("systems", words("Main metrics"), caption, figure, ["system", "metric", "mean", "std"], rows)]
