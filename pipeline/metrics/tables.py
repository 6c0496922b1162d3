"""Tables of metrics: per class, and per system as mean and standard deviation over folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...features.text_table import Table
from .scores import METRICS, ORDINAL_METRICS, Summary
from .statistics import Interval

SWEEP_METRICS = ("accuracy", "macro_f1", "weighted_f1")
PRINTED = (*SWEEP_METRICS, "mcc")  # balanced accuracy is the mean recall of the table by class
PRINTED_ORDINAL = ("accuracy", "macro_f1", *ORDINAL_METRICS)
Cells = tuple[list[str], list[list[str]]]  # header and rows


def metric_title(name: str) -> str:
    """`macro f1` for `macro_f1`."""
    return name.replace("_", " ")


def mean_sd(value: Mapping[str, float]) -> str:
    """`0.731 ±0.012`; without the deviation where it is 0."""
    return f"{value['mean']:.3f}" + (f" ±{value['std']:.3f}" if value["std"] else "")


def interval_text(intervals: Mapping[str, Interval]) -> str:
    """`95 % interval: accuracy 0.701 to 0.752, macro f1 0.640 to 0.701`; the reason where there is none."""
    few = [one.groups for one in intervals.values() if not one.reliable]
    if few:
        return f"95 % interval: none, as the scored posts form only {few[0]} groups of shared content"
    bounds = (f"{metric_title(name)} {one.low:.3f} to {one.high:.3f}" for name, one in intervals.items())
    return f"95 % interval: {', '.join(bounds)}"


def class_cells(classes: Sequence[Mapping[str, Any]]) -> Cells:
    """Precision, recall, F1 and support of each class."""
    return ["class", "precision", "recall", "f1", "support"], [
        [str(c["label"]), *(f"{c[name]:.3f}" for name in ("precision", "recall", "f1")), str(c["support"])]
        for c in classes
    ]


def metric_cells(systems: Mapping[str, Summary], names: Sequence[str] = tuple(METRICS)) -> Cells:
    """One row per system: mean and sample standard deviation over folds of each metric."""
    return ["", *map(metric_title, names)], [
        [system, *(mean_sd(metrics[name]) for name in names)] for system, metrics in systems.items()
    ]


def system_table(systems: Mapping[str, Summary], title: str) -> Table:
    """The metrics that are printed, a row per system; the row of the highest accuracy is bold."""
    ordered = all(metrics.keys() >= ORDINAL_METRICS.keys() for metrics in systems.values())
    header, lines = metric_cells(systems, PRINTED_ORDINAL if ordered else PRINTED)
    means = [round(metrics["accuracy"]["mean"], 3) for metrics in systems.values()]
    best = [row for row, mean in enumerate(means) if len(means) > 1 and mean == max(means)]
    return Table(header, lines, title, best)


def split_text(folds: int) -> str:
    """`5 folds`, or `one split`."""
    return f"{folds} folds" if folds > 1 else "one split"


def scored_text(rows: int, folds: int, repeats: int) -> str:
    """`4000 posts scored, 5 folds, 3 repeats`; `folds` counts those of all repeats."""
    folds_each = folds // repeats if folds > 1 else 1
    return f"{rows} posts scored, {split_text(folds_each)}" + (f", {repeats} repeats" if repeats > 1 else "")
