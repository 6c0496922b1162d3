"""Loss and metric over epochs: means and deviations over the folds that still train."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from figure_runs import history, stored_run

from msa.pipeline.figures.epochs import epoch_charts
from msa.pipeline.figures.words import Words


def test_a_chart_has_the_mean_over_folds_and_says_over_how_many() -> None:
    loss, metric = epoch_charts([stored_run()], Words(), ["loss", "macro_f1"])
    solid, dotted = loss.figure.axes[0].lines
    assert np.asarray(solid.get_ydata()) == pytest.approx([1.5, 0.9, 0.6])
    assert np.asarray(dotted.get_ydata()) == pytest.approx([2.5, 1.9, 1.6])
    assert (solid.get_linestyle(), dotted.get_linestyle()) == ("-", ":")
    assert [row[2:] for row in loss.rows[:3]] == [
        [1, 1.5, pytest.approx(0.5**0.5), 2],
        [2, 0.9, pytest.approx(0.02**0.5), 2],
        [3, 0.6, 0.0, 1],
    ]
    band = loss.figure.axes[0].collections[0].get_paths()[0].vertices
    assert np.asarray(band)[:, 1].max() == pytest.approx(1.5 + 0.5**0.5)
    assert metric.name == "epochs-macro_f1"


def test_several_runs_share_one_chart_in_a_colour_each() -> None:
    runs = [stored_run(), replace(stored_run("two"), history=history([[4.0]])), replace(stored_run("x"), history=[])]
    loss = epoch_charts(runs, Words(), ["loss"])[0]
    lines = loss.figure.axes[0].lines
    assert len(lines) == 4
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    assert [text.get_text() for text in loss.figure.legends[0].get_texts()][2:] == ["two, training", "two, validation"]
    assert [row for row in loss.rows if row[0] == "two"] == [["two", "train", 1, 4, 0, 1], ["two", "valid", 1, 5, 0, 1]]
    assert epoch_charts(runs[2:], Words(), ["loss"]) == []
