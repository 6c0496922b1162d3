"""Bars of systems, classes and ablations have the stored numbers and intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from figure_runs import comparison, stored_run, summary
from matplotlib.axes import Axes

from msa.pipeline.figures.ablation_bars import ablation_charts
from msa.pipeline.figures.chart import Chart
from msa.pipeline.figures.confusion_matrix import class_charts
from msa.pipeline.figures.systems import system_charts
from msa.pipeline.figures.words import Words
from msa.pipeline.metrics.statistics import Interval
from msa.pipeline.runs.results import AblationRow
from msa.pipeline.runs.stored_run import Ablation, StoredRun


def lengths(chart: Chart) -> list[list[float]]:
    return [[bar.get_width() for bar in group.patches] for group in chart.figure.axes[0].containers]  # type: ignore[attr-defined]


def ends(axes: Axes, number: int) -> list[list[float]]:
    """Both ends of each interval of one group of bars."""
    return [[point[0] for point in np.asarray(line)] for line in axes.collections[number].get_segments()]  # type: ignore[attr-defined]


def test_a_head_stands_beside_its_baselines_with_deviations() -> None:
    chart = system_charts([stored_run()], Words())[0]
    assert lengths(chart) == [[0.7, 0.4, 0.6]] * 2
    axes = chart.figure.axes[0]
    assert ends(axes, 0)[0] == pytest.approx([0.6, 0.8])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["gated", "majority", "linear"]
    assert list(chart.rows[0]) == ["gated", "accuracy", 0.7, 0.1]
    several = system_charts([stored_run(), stored_run("two", score=0.8)], Words())[0]
    assert lengths(several)[0] == [0.7, 0.8]


def test_classes_have_their_scores_and_several_runs_their_f1() -> None:
    run = stored_run()
    assert run.evaluation
    chart = class_charts([run], Words())[0]
    assert lengths(chart) == [[one[name] for one in run.evaluation.per_class] for name in ("precision", "recall", "f1")]  # type: ignore[literal-required]
    assert next(iter(chart.figure.axes[0].get_yticklabels())).get_text() == "a (n = 4)"
    other = stored_run("two", ("a", "b", "d"))
    several = class_charts([run, other], Words())[0]
    first, second = lengths(several)
    assert np.isnan([first[3], second[2]]).all()
    assert first[:2] == second[:2]
    assert class_charts([replace(run, evaluation=None)], Words()) == []


def ablation_row(inputs: str, gap: float, groups: int = 50) -> AblationRow:
    interval = {name: Interval(gap, gap - 0.05, gap + 0.05, groups) for name in ("accuracy", "macro_f1")}
    differences = dict.fromkeys(("accuracy", "macro_f1"), gap)
    tests = comparison(gap) if inputs != "both" else None
    return AblationRow("gated", inputs, "", summary(0.7 + gap), differences, interval, interval, tests, {}, {})


def test_an_ablation_shows_differences_their_intervals_and_shapley_values() -> None:
    rows = [ablation_row("both", 0.0), ablation_row("image", -0.2), ablation_row("text", -0.1, groups=3)]
    shapley = {"gated": {"image": summary(0.1, 0.02), "text": summary(0.3), "neither": summary(0.4)}}
    run = StoredRun(stored_run().path, "ablate", stored_run().written, ablation=Ablation(rows, shapley))
    differences, values = ablation_charts([run], Words())
    axes = differences.figure.axes[0]
    assert lengths(differences) == [[-0.2, -0.1]] * 2
    assert [label.get_text() for label in axes.get_yticklabels()] == ["image alone", "text alone"]
    assert ends(axes, 0) == [pytest.approx([-0.25, -0.15])]  # too few groups for the other
    assert list(differences.rows[1]) == ["gated", "text", "accuracy", -0.1, "", ""]
    assert lengths(values) == [[0.1, 0.3]] * 2
    assert [chart.name for chart in ablation_charts([run, run], Words())] == [
        *("ablation-1", "shapley-1", "ablation-2", "shapley-2"),
    ]
