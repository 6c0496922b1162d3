"""The pivot: the best of each pair of settings, whatever else was varied; numbers in bins; settings of runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from figure_runs import stored_run

from msa.pipeline.figures.pivot import Cell, pivot, pivot_runs
from msa.pipeline.figures.section import Shown, read_shown
from msa.pipeline.figures.words import Words


def test_a_cell_shows_the_best_of_those_that_trained_longest() -> None:
    cells = [
        Cell({"heads": 8, "ffn": 16, "lr": 1.0}, 0.9, order=2, whole=False),
        Cell({"heads": 8, "ffn": 16, "lr": 2.0}, 0.7, order=9),
        Cell({"heads": 8, "ffn": 16, "lr": 3.0}, 0.6, order=9),
        Cell({"heads": 4, "ffn": 16}, 0.5, order=2, whole=False),
        Cell({"heads": 4, "ffn": 128}, 0.8, order=9),
    ]
    chart, table = pivot(cells, ("heads", "ffn"), "accuracy", Words())
    assert table.header == ["heads \\ ffn", "16", "128"]
    assert table.rows == [["4", "(0.500)", "0.800"], ["8", "0.700", "–"]]
    assert chart.rows == [["4", "16", 0.5, 0], ["4", "128", 0.8, 1], ["8", "16", 0.7, 1]]
    assert [text.get_text() for text in chart.figure.axes[0].texts] == ["(0.500)", "0.800", "0.700", "–"]
    assert "pruned" in chart.caption
    with pytest.raises(ValueError, match=r"--pivot heads,fnn: no setting 'fnn' here.*ffn"):
        pivot(cells, ("heads", "fnn"), "accuracy", Words())


def test_many_numbers_are_cut_into_bins_evenly_in_their_logarithm() -> None:
    rates = np.geomspace(1e-4, 1e-1, 31)
    cells = [Cell({"lr": float(rate), "fusion": "ab"[n % 2]}, n / 100) for n, rate in enumerate(rates)]
    _, table = pivot(cells, ("lr", "fusion"), "accuracy", Words(), log=["lr"])
    bins = ["0.0001–0.0004", "0.0004–0.0016", "0.0016–0.0063", "0.0063–0.025", "0.025–0.1"]
    assert [row[0] for row in table.rows] == bins
    assert table.rows[0][1:] == ["0.040", "0.050"]
    assert table.rows[-1][1:] == ["0.300", "0.290"]


def test_runs_are_compared_by_the_two_settings_in_which_they_differ_or_by_those_asked_for() -> None:
    runs = []
    for number, (fusion, hidden) in enumerate([("concat", 8), ("concat", 16), ("gated", 8)]):
        run = stored_run(f"run{number}", score=0.5 + number / 10)
        runs.append(replace(run, config=run.config | {"head": {"fusion": fusion, "hidden": hidden}}))
    ((_, table),) = pivot_runs(runs, Words(), Shown())
    assert [table.header, *table.rows] == [
        ["fusion \\ hidden", "8", "16"],
        ["concat", "0.500", "0.600"],
        ["gated", "0.700", "–"],
    ]
    ((_, asked),) = pivot_runs(runs, Words(), read_shown("macro_f1", "encoders, fusion"))
    assert asked.rows == [["images + texts", "0.600", "0.700"]]
    assert pivot_runs(runs[:2], Words(), Shown()) == []


def test_options_that_name_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="--pivot wants two settings, as lr,hidden; got 'lr'"):
        read_shown("accuracy", "lr")
    with pytest.raises(ValueError, match=r"--metric acuracy: unknown.*accuracy"):
        read_shown("acuracy", "")
