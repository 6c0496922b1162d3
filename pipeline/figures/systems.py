"""Heads beside their baselines, and the paired differences of runs from the first of them."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.ensemble_config import GREEDY
from ..evaluation.paired_runs import PairedRuns, compare_runs
from ..metrics.scores import Summary
from ..metrics.statistics import INTERVAL_METRICS
from ..metrics.tables import metric_title
from ..runs.results import WINNER, p_text
from ..runs.stored_run import StoredRun
from .bars import bar_chart
from .chart import Chart
from .section import Table
from .words import Words

UNKNOWN = float("nan")


def systems(runs: Sequence[StoredRun]) -> dict[str, Summary]:
    """The metrics of the head of each run; of one run, or one sweep, those of the baselines, too."""
    evaluated = [(run.name, run.evaluation) for run in runs if run.evaluation]
    if len(evaluated) == 1:
        one = evaluated[0][1]
        return {one.fusion: one.metrics} | one.baselines
    if len(runs) == 1 and runs[0].sweep:
        sweep = runs[0].sweep
        joined = {GREEDY: sweep["ensemble"]["metrics"]} if "ensemble" in sweep else {}
        found: dict[str, Summary] = {WINNER: sweep["outer"]["metrics"]} | joined | sweep["baselines"]
        return found
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


def difference_table(runs: Sequence[StoredRun], words: Words) -> Table:
    """Every other run minus the first: differences with 95 % intervals, and the p of both tests."""
    rows = [[run.name, *_cells(found, words)] for run, found in _compared(runs)]
    metrics = (words(metric_title(name)) for name in INTERVAL_METRICS)
    header = [words("run"), *metrics, "McNemar p", words("corrected t p"), words("test rows")]
    caption = words("Differences from {run} on the test rows that both have").format(run=runs[0].name)
    return Table("differences", caption, header, rows)


def difference_charts(runs: Sequence[StoredRun], words: Words) -> list[Chart]:
    """One chart of the same differences; none where no run shares test rows with the first."""
    compared = [(run.name, found.comparison) for run, found in _compared(runs) if found.comparison]
    if not compared:
        return []
    bars, bounds = {}, {}
    rows: list[list[object]] = []
    for metric in INTERVAL_METRICS:
        intervals = [one.intervals[metric] for _, one in compared]
        ends = [(one.low, one.high) if one.reliable else (UNKNOWN, UNKNOWN) for one in intervals]
        bars[words(metric_title(metric))] = [one.difference[metric] for _, one in compared]
        bounds[words(metric_title(metric))] = ends
        rows += [[name, metric, one.difference[metric], *end] for (name, one), end in zip(compared, ends, strict=True)]
    figure = bar_chart([name for name, _ in compared], bars, axis=words("difference"), bounds=bounds)
    title = words("Difference from {run}").format(run=runs[0].name)
    caption = words("On the test rows that both have; the line is the 95 % interval by the bootstrap.")
    return [Chart("differences", title, caption, figure, ["run", "metric", "difference", "low", "high"], rows)]


def _compared(runs: Sequence[StoredRun]) -> list[tuple[StoredRun, PairedRuns]]:
    return [(run, compare_runs(run, runs[0])) for run in runs[1:]]


def _cells(found: PairedRuns, words: Words) -> list[str]:
    one = found.comparison
    if one is None:
        return [*["–"] * (len(INTERVAL_METRICS) + 2), "0"]
    texts = []
    for metric in INTERVAL_METRICS:
        interval = one.intervals[metric]
        bounds = f" [{interval.low:+.3f}, {interval.high:+.3f}]" if interval.reliable else ""
        texts.append(f"{one.difference[metric]:+.3f}{bounds}")
    return [*texts, p_text(one.mcnemar), p_text(one.corrected_t["accuracy"]), str(found.posts)]
