"""Tables of metrics as text: per class, and per system as mean and spread over folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...features.text_table import table

REPORTED = ("accuracy", "macro_f1", "weighted_f1")
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "mcc")


def mean_sd(value: Mapping[str, float]) -> str:
    """`0.731 ±0.012`; without the spread where there is none."""
    return f"{value['mean']:.3f}" + (f" ±{value['std']:.3f}" if value["std"] else "")


def class_table(classes: Sequence[Mapping[str, Any]]) -> str:
    """Precision, recall, F1 and support of each class."""
    lines = [
        [str(c["label"]), *(f"{c[name]:.3f}" for name in ("precision", "recall", "f1")), str(c["support"])]
        for c in classes
    ]
    return table(["class", "precision", "recall", "f1", "support"], lines)


def metric_table(rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """One line per system: mean and sample standard deviation over folds of each metric."""
    lines = [[name, *(mean_sd(metrics[metric]) for metric in SHOWN)] for name, metrics in rows.items()]
    return table(["", *(name.replace("_", " ") for name in SHOWN)], lines)


def scored_text(rows: int, folds: int, repeats: int) -> str:
    """`4000 posts scored, 5 folds, 3 repeats`; `folds` are those of all repeats together."""
    dealt = f"{folds // repeats} folds" if folds > 1 else "one split"
    return f"{rows} posts scored, {dealt}" + (f", {repeats} repeats" if repeats > 1 else "")
