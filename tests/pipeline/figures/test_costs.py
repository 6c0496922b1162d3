"""Losses of batches, learning rates, and what extraction and heads cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from figure_runs import MADE, stored_run

from msa.pipeline.figures.epochs import batch_charts, epoch_charts, running_mean
from msa.pipeline.figures.facts import cost_table
from msa.pipeline.figures.words import Words


def test_batches_of_the_first_head_are_drawn_with_their_running_mean() -> None:
    assert running_mean(np.array([1.0, 3.0, 5.0, 7.0]), 2).tolist() == [1, 2, 4, 6]
    batches = np.array([[0, 0, 1, 1, 3.0], [0, 0, 1, 2, 2.0], [0, 0, 2, 1, 1.0], [0, 1, 1, 1, 9.0], [1, 0, 1, 1, 9.0]])
    (chart,) = batch_charts([replace(stored_run(), batches=batches)], Words())
    assert chart.rows == [["one", 1, 1, 3.0], ["one", 1, 2, 2.0], ["one", 2, 3, 1.0]]
    assert np.asarray(chart.figure.axes[0].lines[0].get_ydata()).tolist() == [3, 2, 1]
    assert batch_charts([replace(stored_run(), batches=np.empty((0, 5)))], Words()) == []


def test_the_learning_rate_is_drawn_by_epoch() -> None:
    lines = [{"fold": 0.0, "epoch": float(n), "train_loss": 1.0, "valid_loss": 1.0, "lr": 1 / n} for n in (1, 2, 4)]
    (chart,) = epoch_charts([replace(stored_run(), history=lines)], Words("zh"), ["lr"])
    assert chart.name == "epochs-lr"
    assert chart.title == "学习率随轮次的变化"
    assert np.asarray(chart.figure.axes[0].lines[0].get_ydata()).tolist() == [1, 0.5, 0.25]


def test_extraction_is_counted_once_for_all_runs_that_share_it() -> None:
    one = stored_run()
    timed = [line | {"seconds": 0.5} for line in one.history]
    one = replace(one, history=timed, config=one.config | {"extract_seconds": {"image": 25.0, "text": None}}, made=MADE)
    (table,) = cost_table([one, replace(one, name="two")], Words())
    assert table.rows == [
        ["extraction of image: images", "50", "25.0", "0.5"],
        ["extraction of text: texts", "50", "–", "–"],
        ["heads of one", "2", "2.5", "1.25"],
        ["heads of two", "2", "2.5", "1.25"],
    ]
    assert cost_table([replace(one, history=[], config={})], Words()) == []


@pytest.mark.parametrize(("trials", "each"), [(4, 0.25)])
def test_a_sweep_counts_the_heads_of_all_trials(trials: int, each: float) -> None:
    lines = [{"head_seconds": each, "extract_seconds": 10.0}] * trials + [{"head_seconds": None}]
    sweep = {"leaderboard": lines, "search": {"inner": 3}}
    (table,) = cost_table([replace(stored_run(), config={}, history=[], sweep=sweep, made=MADE)], Words())
    assert table.rows == [["extraction", "50", "10.0", "0.2"], ["heads of one", "15", "3.0", "0.2"]]
