"""Confusion matrix as a heat map, counts and the share of each true class; precision, recall and F1 as bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from ..runs.stored_run import StoredRun
from .bars import bar_chart
from .chart import TEXT, WIDTH, Chart, drawing, short
from .words import Words

MOST = 12  # classes whose cells hold numbers
SHADES = LinearSegmentedColormap.from_list("shades", [(0.23, 0.51, 0.77, 0.03), (0.12, 0.36, 0.60, 1.0)])
SCORES = ("precision", "recall", "f1")


def confusion_charts(runs: Sequence[StoredRun], words: Words) -> list[Chart]:
    """One heat map per run."""
    evaluated = [run for run in runs if run.evaluation]
    return [_confusion_chart(run, number * (len(evaluated) > 1), words) for number, run in enumerate(evaluated, 1)]


def _confusion_chart(run: StoredRun, number: int, words: Words) -> Chart:
    assert run.evaluation
    counts = np.array(run.evaluation.confusion)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    classes = [entry["label"] for entry in run.evaluation.per_class]
    few = len(classes) <= MOST
    width = WIDTH if few else max(WIDTH, 1.8 + 0.15 * len(classes))
    with drawing(width, max(3.4, min(width, 1.6 + 0.7 * len(classes)))) as (figure, axes):
        axes.pcolormesh(shares, cmap=SHADES, vmin=0, vmax=1, edgecolors="none")
        axes.invert_yaxis()
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        places = np.arange(len(classes)) + 0.5
        names = [short(name, 16) for name in classes]
        axes.set_xticks(places, names, rotation=90 if len(classes) * max(map(len, names)) > 36 else 0)
        axes.set_yticks(places, names)
        axes.set_xlabel(words("predicted class"))
        axes.set_ylabel(words("true class"))
        if few:
            for (row, column), count in np.ndenumerate(counts):
                share = shares[row, column]
                text = f"{count}\n{share:.0%}" if len(classes) <= 6 else f"{count}"
                colour = "#ffffff" if share > 0.55 else TEXT
                axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=8)
    rows = [
        [true, predicted, counts[i, j], shares[i, j]]
        for i, true in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]
    return Chart(
        f"confusion-{number}" if number else "confusion",
        words("Confusion matrix") + (f": {short(run.name)}" if number else ""),
        words("Test rows by true and predicted class, and their share of the true class; summed over repeats."),
        figure,
        ["true", "predicted", "count", "share"],
        rows,
    )


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
