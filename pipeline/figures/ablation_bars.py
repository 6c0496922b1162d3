"""Ablation: differences from the full head with their intervals, and Shapley values of modalities, for posts, too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ...features.spec import MODALITIES
from ..inspection.posts import TestPosts
from ..metrics.statistics import INTERVAL_METRICS
from ..metrics.tables import metric_title
from ..runs.results import AblationRow
from ..runs.stored_run import Ablation, StoredRun
from .bars import bar_chart
from .chart import Chart, colours, drawing, legend
from .words import Words

UNKNOWN = float("nan")
BINS = 40  # of a distribution over posts


def ablation_charts(runs: Sequence[StoredRun], words: Words) -> list[Chart]:
    """The charts of each ablation."""
    found = [run for run in runs if run.ablation]
    charts = []
    for number, run in enumerate(found, 1):
        assert run.ablation
        end = f"-{number}" if len(found) > 1 else ""
        title = f": {run.name}" if len(found) > 1 else ""
        charts += _differences(run.ablation, end, title, words) + _shapley(run.ablation, end, title, words)
    return charts


def row_name(row: AblationRow, words: Words, *, several: bool) -> str:
    """`text alone`, or the name of a variant; after that of the head where there are several."""
    whole = words("both") if row.inputs == "both" else words("{modality} alone").format(modality=words(row.inputs))
    name = row.variant or whole
    return f"{row.fusion}, {name}" if several else name


def _differences(found: Ablation, end: str, title: str, words: Words) -> list[Chart]:
    compared = [row for row in found.rows if row.tests]
    if not compared:
        return []
    several = len({row.fusion for row in found.rows}) > 1
    bars, bounds = {}, {}
    rows: list[list[object]] = []
    for metric in INTERVAL_METRICS:
        intervals = [row.difference_intervals[metric] for row in compared]
        bars[words(metric_title(metric))] = [row.difference[metric] for row in compared]
        bounds[words(metric_title(metric))] = [
            (one.low, one.high) if one.reliable else (UNKNOWN, UNKNOWN) for one in intervals
        ]
        rows += [
            [row.fusion, row.name, metric, row.difference[metric], *((one.low, one.high) if one.reliable else ("", ""))]
            for row, one in zip(compared, intervals, strict=True)
        ]
    labels = [row_name(row, words, several=several) for row in compared]
    figure = bar_chart(labels, bars, axis=words("difference"), bounds=bounds)
    header = ["fusion", "row", "metric", "difference", "low", "high"]
    caption = words("Score minus that of the full head on the same test rows; the line is the 95 % interval.")
    return [Chart(f"ablation{end}", words("Difference from the full head") + title, caption, figure, header, rows)]


def _shapley(found: Ablation, end: str, title: str, words: Words) -> list[Chart]:
    if not found.shapley:
        return []
    several = len(found.shapley) > 1
    rows = [
        [fusion, modality, metric, values[modality][metric]["mean"], values[modality][metric]["std"]]
        for fusion, values in found.shapley.items()
        for modality in ("image", "text")
        for metric in INTERVAL_METRICS
    ]
    labels = [
        f"{fusion}, {words(modality)}" if several else words(modality)
        for fusion in found.shapley
        for modality in ("image", "text")
    ]
    bars, bounds = {}, {}
    for metric in INTERVAL_METRICS:
        means = [(float(mean), float(std)) for _, _, one, mean, std in rows if one == metric]
        bars[words(metric_title(metric))] = [mean for mean, _ in means]
        bounds[words(metric_title(metric))] = [(mean - std, mean + std) for mean, std in means]
    figure = bar_chart(labels, bars, axis=words("gain"), bounds=bounds)
    caption = words(
        "What each modality adds to the score, averaged over adding it first and second; "
        "the line is one standard deviation over folds to each side."
    )
    header = ["fusion", "modality", "metric", "mean", "std"]
    return [Chart(f"shapley{end}", words("Shapley values") + title, caption, figure, header, rows)]


def post_shapley_charts(posts: TestPosts, words: Words) -> list[Chart]:
    """The distribution of the Shapley values of test posts; none where the run compares no modalities."""
    if posts.alone is None:
        return []
    values = posts.shapley(posts.predicted).T  # (2, n)
    limit = float(np.abs(values).max()) or 1.0
    edges = np.linspace(-limit, limit, BINS + 1)
    counts = [np.histogram(one, edges)[0] for one in values]
    with drawing() as (figure, axes):
        handles = [
            axes.stairs(count, edges, fill=True, alpha=0.5, color=colour)
            for count, colour in zip(counts, colours(2), strict=True)
        ]
        means = [f"{one.mean():+.3f}" for one in values]
        label = words("{name}: mean {value}")
        legend(axes, handles, [label.format(name=words(n), value=v) for n, v in zip(MODALITIES, means, strict=True)])
        axes.set(xlabel=words("Shapley value"), ylabel=words("posts"))
    rows = [
        [name, float(low), float(high), int(one)]
        for name, count in zip(MODALITIES, counts, strict=True)
        for (low, high), one in zip(pairwise(edges), count, strict=True)
    ]
    caption = words(
        "What each modality adds to the probability of a test post's predicted class: its gain, averaged over adding "
        "it first and second."
    )
    title = words("Shapley values of posts")
    return [Chart("shapley-posts", title, caption, figure, ["modality", "from", "to", "posts"], rows)]
