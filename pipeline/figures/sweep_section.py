"""The section of sweeps: leaderboard, importance, slices, parallel coordinates, pivot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..metrics.tables import metric_title
from ..runs.stored_run import StoredRun
from .chart import Chart
from .section import Section, Shown, Table
from .words import Words

if TYPE_CHECKING:  # Optuna takes a second to import, and most reports hold no sweep
    from ..sweeps.stored_sweep import StoredSweep

BEST = 10  # trials of the leaderboard


def sweep_section(runs: Sequence[StoredRun], words: Words, shown: Shown) -> Section:
    """Of the first sweep among the runs. Raises ValueError where it is damaged or not finished."""
    found = [run for run in runs if run.sweep]
    if not found:
        return Section("", [])
    from ..sweeps.stored_sweep import open_sweep
    from .sweep_charts import sweep_charts

    sweep = open_sweep(found[0].path)
    others = len(found) - 1
    notes = [words("Shown is the sweep {name} alone.").format(name=found[0].name)] * bool(others)
    charts, tables = sweep_charts(sweep, words), [_leaderboard(sweep, words), *_ensemble(sweep, words)]
    for chart, table in _pivot(sweep, words, shown):
        charts.insert(0, chart)
        tables.append(table)
    return Section(words("Sweep"), charts, tables, notes, _counts(sweep, words))


def _counts(sweep: StoredSweep, words: Words) -> str:
    complete = sum(trial.state == "complete" for trial in sweep.trials)
    text = words("{trials} trials on {folds} inner folds: {complete} complete, {pruned} pruned, {failed} failed.")
    counts = {"complete": complete, "pruned": len(sweep.trials) - complete, "failed": sweep.failed}
    outer = words(" Shown are the trials of one of {folds} outer folds, whose winner was best.")
    counted = text.format(trials=len(sweep.trials) + sweep.failed, folds=sweep.folds, **counts)
    return counted + outer.format(folds=sweep.outer_folds) * (sweep.outer_folds > 1)


def _leaderboard(sweep: StoredSweep, words: Words) -> Table:
    from .sweep_charts import value_text

    names = sweep.varied
    header = [words("trial"), words(metric_title(sweep.metric)), words("epochs"), words("state"), *names]
    rows = [
        [
            str(trial.index),
            f"{trial.value:.3f}",
            str(trial.epochs),
            words(trial.state),
            *(value_text(trial.point.get(name, "–")) for name in names),
        ]
        for trial in sweep.trials[:BEST]
    ]
    caption = words("Leaderboard: the best {count} trials on the inner folds").format(count=len(rows))
    return Table("leaderboard", caption, header, rows)


def _ensemble(sweep: StoredSweep, words: Words) -> list[Table]:
    """The members of the greedy ensemble with their weights, none where there is no ensemble."""
    from .sweep_charts import value_text

    if not sweep.members:
        return []
    points = {trial.index: trial.point for trial in sweep.trials}
    header = [words("trial"), words("weight"), *sweep.varied]
    rows = [
        [str(trial), f"{weight:.3f}", *(value_text(points[trial].get(name, "–")) for name in sweep.varied)]
        for trial, weight in sweep.members.items()
    ]
    return [Table("ensemble", words("Greedy ensemble: the trials that were picked"), header, rows)]


def _pivot(sweep: StoredSweep, words: Words, shown: Shown) -> list[tuple[Chart, Table]]:
    from ..sweeps.space import Range
    from .pivot import Cell, pivot
    from .sweep_charts import importances

    first = list(importances(sweep))[:2]
    names = shown.pivot or ((first[0], first[1]) if len(first) == 2 else None)
    if not names:
        return []
    cells = [Cell(trial.point, trial.value, trial.epochs, trial.state == "complete") for trial in sweep.trials]
    log = [name for name, values in sweep.space.names.items() if isinstance(values, Range) and values.log]
    return [pivot(cells, names, sweep.metric, words, log=log)]
