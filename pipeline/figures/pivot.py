"""The pivot of two settings: a heat map and a table of a metric, of a sweep's trials or of several runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...features.messages import near_or_all
from ..metrics.tables import metric_title
from ..runs.stored_run import StoredRun
from .chart import TEXT, WIDTH, Chart, drawing, short
from .confusion_matrix import SHADES
from .facts import run_settings
from .section import Shown, Table
from .words import Words

BINS = 5  # of a setting of which many numbers were tried
MANY = 10  # values that each have a row or a column of their own
FULL = 14  # columns whose cells hold numbers


class Cell(NamedTuple):
    """One trial or run: its settings, the metric, and a larger order where it counts more than another one."""

    settings: Mapping[str, object]
    value: float
    order: int = 0
    whole: bool = True  # trained for all epochs


def pivot(
    cells: Sequence[Cell], names: tuple[str, str], metric: str, words: Words, *, log: Sequence[str] = ()
) -> tuple[Chart, Table]:
    """The heat map and the table of the best of the cells that share their values of both settings.

    Settings with many numbers are cut into bins, those of `log` evenly in their logarithm. Raises ValueError for a
    setting that no cell has.
    """
    known = list(dict.fromkeys(name for cell in cells for name in cell.settings))
    for name in names:
        if name not in known:
            raise ValueError(f"--pivot {','.join(names)}: no setting {name!r} here{near_or_all(name, known)}")
    (rows, row_of), (columns, column_of) = (
        _groups([cell.settings.get(name, "–") for cell in cells], log=name in log) for name in names
    )
    best: dict[tuple[int, int], Cell] = {}
    for cell in sorted(cells, key=lambda one: (one.order, one.value)):
        place = row_of(cell.settings.get(names[0], "–")), column_of(cell.settings.get(names[1], "–"))
        best[place] = cell
    values = np.full((len(rows), len(columns)), np.nan)
    for place, cell in best.items():
        values[place] = cell.value
    texts = [[_text(best.get((row, column))) for column in range(len(columns))] for row in range(len(rows))]
    title = words("{metric} by {setting}").format(metric=words(metric_title(metric)), setting=" × ".join(names))
    caption = words("The best of each pair of settings.")
    if not all(cell.whole for cell in best.values()):
        caption += words(" In brackets: pruned before the last epoch.")
    flat = [[rows[i], columns[j], one.value, int(one.whole)] for (i, j), one in sorted(best.items())]
    chart = Chart(
        "pivot", title, caption, _heat_map(values, texts, rows, columns, names), [*names, metric, "complete"], flat
    )
    body = [[row, *line] for row, line in zip(rows, texts, strict=True)]
    return chart, Table("pivot", title, [f"{names[0]} \\ {names[1]}", *columns], body)


def pivot_runs(runs: Sequence[StoredRun], words: Words, shown: Shown) -> list[tuple[Chart, Table]]:
    """The pivot of several runs, by the settings asked for, or by the only two in which they differ."""
    cells = [Cell(run_settings(run), run.evaluation.metrics[shown.metric]["mean"]) for run in runs if run.evaluation]
    names = shown.pivot
    if not names:
        every = dict.fromkeys(name for cell in cells for name in cell.settings)
        differ = [name for name in every if len({str(cell.settings.get(name)) for cell in cells}) > 1]
        names = (differ[0], differ[1]) if len(differ) == 2 else None
    return [pivot(cells, names, shown.metric, words)] if names else []


def _text(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    return f"{cell.value:.3f}" if cell.whole else f"({cell.value:.3f})"


def _groups(values: Sequence[object], *, log: bool) -> tuple[list[str], Callable[[object], int]]:
    """The names of the groups of values in order, and which of them a value is in."""
    numbers = sorted({float(one) for one in values if isinstance(one, int | float) and not isinstance(one, bool)})
    if len(numbers) > MANY:
        spaced = np.geomspace if log and numbers[0] > 0 else np.linspace
        edges: NDArray[np.float64] = spaced(numbers[0], numbers[-1], BINS + 1)
        names = [f"{low:.2g}–{high:.2g}" for low, high in pairwise(edges)]
        others = list(dict.fromkeys(str(one) for one in values if isinstance(one, str)))

        def bin_of(value: Any) -> int:
            if isinstance(value, str):
                return len(names) + others.index(value)
            return int(np.clip(np.searchsorted(edges, value, "right") - 1, 0, BINS - 1))

        return [*names, *others], bin_of
    order = sorted(set(values), key=lambda one: (isinstance(one, str), one if isinstance(one, int | float) else 0))
    distinct = list(dict.fromkeys([*[one for one in order if not isinstance(one, str)], *values]))
    return [f"{one:.3g}" if isinstance(one, float) else str(one) for one in distinct], distinct.index


def _heat_map(
    values: NDArray[np.float64],
    texts: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    names: tuple[str, str],
) -> Figure:
    height = 1.3 + 0.42 * len(rows)
    with drawing(max(WIDTH, 1.6 + 0.55 * len(columns)), height) as (figure, axes):
        axes.pcolormesh(values, cmap=SHADES, edgecolors="none")
        axes.invert_yaxis()
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        labels = [short(name, 16) for name in columns]
        crowded = sum(map(len, labels)) > 44
        axes.set_xticks(np.arange(len(columns)) + 0.5, labels, rotation=30 if crowded else 0)
        axes.set_yticks(np.arange(len(rows)) + 0.5, [short(name, 20) for name in rows])
        axes.set_xlabel(short(names[1]))
        axes.set_ylabel(short(names[0]))
        low, high = np.nanmin(values), np.nanmax(values)
        for (row, column), value in np.ndenumerate(values):
            if len(columns) <= FULL:
                dark = high > low and (value - low) / (high - low) > 0.55
                at = column + 0.5, row + 0.5
                colour = "#ffffff" if dark else TEXT
                axes.text(*at, texts[row][column], ha="center", va="center", color=colour, fontsize=8)
    return figure
