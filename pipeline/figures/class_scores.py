"""Precision, recall and F1 of each class as bars; of several runs, their F1 side by side."""

from __future__ import annotations

from collections.abc import Sequence

from ..runs.stored_run import StoredRun
from .bars import bar_chart
from .chart import Chart, short
from .words import Words

SCORES = ("precision", "recall", "f1")


def class_charts(runs: Sequence[StoredRun], words: Words) -> list[Chart]:
    """One chart; none where no run is evaluated."""
    evaluated = [(run.name, run.evaluation.per_class) for run in runs if run.evaluation]
    if not evaluated:
        return []
    rows = [[name, *entry.values()] for name, entries in evaluated for entry in entries]
    if len(evaluated) == 1:
        entries = evaluated[0][1]
        bars = {words(score): [float(entry[score]) for entry in entries] for score in SCORES}  # type: ignore[literal-required]
        labels = [f"{short(entry['label'], 16)} (n = {entry['support']})" for entry in entries]
    else:
        classes = list(dict.fromkeys(entry["label"] for _, entries in evaluated for entry in entries))
        found = {name: {entry["label"]: entry["f1"] for entry in entries} for name, entries in evaluated}
        bars = {name: [scores.get(one, float("nan")) for one in classes] for name, scores in found.items()}
        labels = [short(one, 16) for one in classes]
    figure = bar_chart(labels, bars, axis=words("score") if len(evaluated) == 1 else words("f1"), limits=(0, 1))
    header = ["run", *evaluated[0][1][0]]
    caption = words("On test rows; n is the number of posts of the class.")
    return [Chart("classes", words("Scores by class"), caption, figure, header, rows)]
