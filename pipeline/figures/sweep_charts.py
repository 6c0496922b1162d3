"""Charts of a sweep by Optuna: importance of each setting, slices, parallel coordinates; and the losses of trials."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import matplotlib
import numpy as np
import optuna
from matplotlib import style
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from ..metrics.tables import metric_title
from ..sweeps.stored_sweep import StoredSweep, StoredTrial
from .chart import HEIGHT, STYLE, WIDTH, Chart, colours, drawing, legend, short, styled
from .epochs import PARTS
from .words import Words

MOST = 12  # settings that have a slice
DRAWN = 500  # trials in it: each is a mark in the page
LONGEST = 36  # characters of a trial's settings in a legend
LINES = 8  # trials whose losses are drawn
WIDE = 1.25  # inches for each axis of the parallel coordinates


def importances(sweep: StoredSweep) -> dict[str, float]:
    """The share of each varied setting in the variance of the metric (PED-ANOVA, Watanabe et al., 2023), largest first.

    Empty where all trials have the same value or no setting was varied.
    """
    if not sweep.varied or len({trial.values[sweep.compared] for trial in sweep.trials}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.importance.get_param_importances(sweep.study(), params=sweep.varied)


def sweep_charts(sweep: StoredSweep, words: Words) -> list[Chart]:
    """Importance, a slice per setting, parallel coordinates, and the losses of the best trials."""
    found = importances(sweep)
    charts = _losses(sweep, words)
    if not found:
        return charts
    from optuna.visualization.matplotlib import plot_parallel_coordinate, plot_param_importances, plot_slice

    drawn = spread(sweep)
    study, title = drawn.study(), words(metric_title(sweep.metric))
    after = words("Inner-fold {metric} of every trial after {epochs} epochs, which all of them trained for.")
    caption = after.format(metric=title, epochs=sweep.compared)
    names = list(found)
    figure = _draw(lambda: plot_param_importances(sweep.study(), params=names))
    _label(figure, x=words("share of the variance"), y="")
    importance = Chart("importance", words("Importance of each setting"), caption, figure, *_columns(found))
    if len(drawn.trials) < len(sweep.trials):
        share = words(" Drawn are {drawn} of {trials} trials; the table has all of them.")
        caption += share.format(drawn=len(drawn.trials), trials=len(sweep.trials))
    slices = [_slice(plot_slice, study, name, sweep, words, title, caption) for name in names[:MOST]]
    figure = _draw(
        lambda: plot_parallel_coordinate(study, params=names, target_name=title), max(2 * WIDTH, WIDE * len(names))
    )
    header = ["trial", *names, sweep.metric]
    rows = [[one.index, *(one.point.get(name, "") for name in names), one.values[sweep.compared]] for one in _by(sweep)]
    parallel = Chart("parallel", words("Parallel coordinates"), caption, figure, header, rows, wide=True)
    return [importance, *slices, parallel, *charts]


def spread(sweep: StoredSweep) -> StoredSweep:
    """The sweep with so many of its trials that a page can draw them, evenly over their order."""
    every = _by(sweep)
    return replace(sweep, trials=every[:: -(-len(every) // DRAWN)])


def _slice(
    plot: Callable[..., Any], study: optuna.Study, name: str, sweep: StoredSweep, words: Words, title: str, caption: str
) -> Chart:
    figure = _draw(lambda: plot(study, params=[name], target_name=title))
    _label(figure, x=short(name), y=title)
    for axes in figure.axes[1:]:  # the colour bar
        axes.set_title("")
        axes.set_ylabel(words("order of the trials"))
    rows = [[one.index, one.point[name], one.values[sweep.compared]] for one in _by(sweep) if name in one.point]
    heading = words("{metric} by {setting}").format(metric=title, setting=name)
    return Chart(f"slice-{name}", heading, caption, figure, ["trial", name, sweep.metric], rows)


def _by(sweep: StoredSweep) -> list[StoredTrial]:
    return sorted(sweep.trials, key=lambda one: one.index)


def _columns(found: dict[str, float]) -> tuple[list[str], list[list[object]]]:
    return ["setting", "importance"], [[name, value] for name, value in found.items()]


def _draw(plot: Callable[[], Any], width: float = WIDTH) -> Figure:
    """A figure that Optuna draws, in the style of the other charts instead of its own."""
    if "matplotlib.pyplot" not in sys.modules:
        matplotlib.use("Agg")
    from matplotlib import pyplot

    with styled(), patch.dict(style.library, {"ggplot": matplotlib.RcParams(**STYLE)}), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        axes = plot()
        figure: Figure = np.ravel(axes)[0].get_figure(root=True)
        pyplot.close(figure)
    figure.set_size_inches(max(WIDTH, width), HEIGHT)
    figure.set_layout_engine("constrained")
    for one in figure.axes:
        one.set_title("")
        one.set_title("", loc="left")
        for axis in (one.xaxis, one.yaxis):
            if axis.get_scale() == "log":  # matplotlib's own labels are formulas
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_formatter(NullFormatter())
        for drawn in one.collections:
            drawn.set_rasterized(False)  # a page draws no image
            if isinstance(drawn, QuadMesh):  # of a colour bar, without seams between its steps
                drawn.set_edgecolor("face")
    return figure


def _label(figure: Figure, *, x: str, y: str) -> None:
    axes = figure.axes[0]
    axes.set(xlabel=x, ylabel=y)
    if shown := axes.get_legend():
        shown.remove()


def _losses(sweep: StoredSweep, words: Words) -> list[Chart]:
    """Losses over epochs of the best trials, labelled by their settings; none in sweeps of earlier versions."""
    shown = [trial for trial in sweep.trials if trial.losses][:LINES]
    if not shown:
        return []
    handles = []
    rows: list[list[object]] = []
    with drawing() as (figure, axes):
        for trial, colour in zip(shown, colours(len(shown)), strict=True):
            for part, (_, line) in PARTS.items():
                losses = trial.losses[part]
                epochs = range(1, len(losses) + 1)
                (drawn,) = axes.plot(epochs, losses, line, color=colour, marker="o" if len(losses) == 1 else None)
                handles += [drawn] * (part == "train")
                rows += [[trial.index, part, *one] for one in zip(epochs, losses, strict=True)]
        axes.set_xlabel(words("epoch"))
        axes.set_ylabel(words("loss"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        texts = [_point_text(trial.point, sweep.varied) for trial in shown]
        if max(map(len, texts)) > LONGEST:  # the leaderboard has their settings
            texts = [f"{words('trial')} {trial.index}" for trial in shown]
        legend(axes, handles, texts, columns=2)
    caption = words("Mean over inner folds; training solid, validation dotted. At most the best {count} trials.")
    title = words("Loss over epochs by settings")
    header = ["trial", "rows", "epoch", "loss"]
    return [Chart("sweep-loss", title, caption.format(count=LINES), figure, header, rows)]


def _point_text(point: Any, names: Sequence[str]) -> str:
    """`lr=0.001, hidden=64`: these settings of a point."""
    return ", ".join(f"{name}={value_text(point[name])}" for name in names if name in point)


def value_text(value: object) -> str:
    """A setting in a table: numbers with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
