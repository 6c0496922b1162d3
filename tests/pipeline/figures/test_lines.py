"""Calibration, ROC, precision-recall and share curves have the stored numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from figure_runs import TRUTH, stored_run, summary
from sklearn.metrics import average_precision_score, roc_auc_score

from msa.pipeline.figures.chart import Chart
from msa.pipeline.figures.ranking import calibration_charts, ranking_charts
from msa.pipeline.figures.share_curves import share_charts
from msa.pipeline.figures.words import Words
from msa.pipeline.runs.stored_run import CurvePoint, Predictions, StoredRun


def legend_texts(chart: Chart) -> list[str]:
    shown = chart.figure.axes[0].get_legend() or chart.figure.legends[0]
    return [text.get_text() for text in shown.get_texts()]


def test_the_reliability_diagram_has_the_bins() -> None:
    chart = calibration_charts([stored_run()], Words())[0]
    _, before, after = chart.figure.axes[0].lines
    assert np.asarray(before.get_xydata()).tolist() == [[0.5, 0.25], [0.9, 1.0]]
    assert np.asarray(after.get_xydata()).tolist() == [[0.7, 0.7]]
    assert legend_texts(chart) == ["uncalibrated: error 0.200", "temperature-scaled: error 0.100"]
    several = calibration_charts([stored_run(), stored_run("two")], Words())[0]
    assert legend_texts(several) == ["one: error 0.100", "two: error 0.100"]


def test_roc_and_precision_recall_are_those_of_scikit_learn() -> None:
    run = stored_run(classes=("_a", "b", "c"))
    assert run.predictions
    roc, precision_recall = ranking_charts([run], Words())
    probability = run.predictions.probabilities[:, 0]
    assert legend_texts(roc)[0] == f"_a: area {roc_auc_score(TRUTH == 0, probability):.3f}"
    assert legend_texts(precision_recall)[0] == (
        f"_a: average precision {average_precision_score(TRUTH == 0, probability):.3f}"
    )
    points = [row[1:] for row in roc.rows if row[0] == "_a"]
    assert np.asarray(roc.figure.axes[0].lines[1].get_xydata()).tolist() == points
    true = np.eye(3)[TRUTH].ravel()
    micro = ranking_charts([run, stored_run("two")], Words())[0]
    assert legend_texts(micro)[1] == f"two: area {roc_auc_score(true, run.predictions.probabilities.ravel()):.3f}"


def test_a_class_that_all_or_no_rows_have_has_no_curve() -> None:
    run = stored_run()
    assert run.predictions
    no_c = replace(run, predictions=run.predictions._replace(truth=np.where(TRUTH == 2, 0, TRUTH)))
    assert [text[0] for text in legend_texts(ranking_charts([no_c], Words())[0])] == ["a", "b"]
    only_a = replace(run, predictions=run.predictions._replace(truth=np.zeros(10, np.int64)))
    assert ranking_charts([only_a], Words()) == []


def test_share_curves_run_over_the_share_missing_or_the_training_rows() -> None:
    points = [CurvePoint("image", share, 40 * share, summary(0.8 - share / 2)) for share in (0.0, 0.5, 1.0)]
    missing = replace(stored_run(), curve=points, curve_of="missing")
    learning = StoredRun(missing.path, "two", missing.written, curve=points, curve_of="system")
    charts = {chart.name: chart for chart in share_charts([missing, learning], Words())}
    assert list(charts) == ["missing-accuracy", "missing-macro_f1", "learning-accuracy", "learning-macro_f1"]
    line = charts["missing-accuracy"].figure.axes[0].lines[0]
    assert np.asarray(line.get_xydata()) == pytest.approx(np.array([[0, 0.8], [0.5, 0.55], [1, 0.3]]))
    assert list(charts["learning-accuracy"].figure.axes[0].lines[0].get_xdata()) == [0, 20, 40]
    assert list(charts["learning-accuracy"].rows[1]) == ["two", "image", 0.5, 20, 0.55, 0.1]


def test_classes_without_number_do_not_crowd_out_the_curves() -> None:
    names = tuple(f"class {number}" for number in range(30))
    truth = np.arange(60) % 30
    found = Predictions(names, [(str(row), "0") for row in range(60)], truth, truth, np.eye(30)[truth])
    for chart in ranking_charts([replace(stored_run(), predictions=found)], Words()):
        assert len(legend_texts(chart)) == 30
        chart.to_svg()
