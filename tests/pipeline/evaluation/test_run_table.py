"""The table of runs: its rows, what is bold, what is marked, and what it says of runs that do not go together."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from latex import compile_latex
from stored_runs import answers, store_run

from msa.pipeline.evaluation.paired_runs import compare_runs
from msa.pipeline.evaluation.run_table import RunTable, heading, tabulate_runs
from msa.pipeline.metrics.scores import METRICS
from msa.pipeline.runs.stored_run import read_run

FOLDS = [range(start, start + 20) for start in range(0, 100, 20)]
WRONG = {
    "good": [],
    "even": [3, 23, 43, 64, 83],
    "bad": [*range(8), *range(20, 26), *range(40, 45), 60, 61, 62, 80, 81, 82],
}


def summary(value: float, std: float = 0.1) -> dict[str, dict[str, float]]:
    return {name: {"mean": value, "std": std} for name in METRICS}


def store(folder: Path, name: str, **more: Any) -> Path:
    wrong = WRONG.get(name, [])
    return store_run(folder / name, [answers(one.start, one.stop, wrong=wrong) for one in FOLDS], **more)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in WRONG:
        store(tmp_path / "runs", name)
    return tmp_path / "runs"


def cells(table: RunTable, row: str) -> list[str]:
    """A row as Markdown shows it, without its name."""
    lines = [line.strip("| ").split(" | ") for line in table.to_text("markdown").splitlines()]
    return next(line[1:] for line in lines if line[0] == row)


def test_rows_are_the_runs_with_their_stored_metrics(runs: Path) -> None:
    table = tabulate_runs([runs / "bad", runs], metrics=["macro_f1", "accuracy", "macro_f1"])
    assert [row.name for row in table.rows] == ["bad", "good", "even"]
    stored = json.loads((runs / "bad" / "metrics.json").read_text())["metrics"]
    assert cells(table, "Run") == ["Macro F1", "Accuracy"]
    text = f"{stored['macro_f1']['mean']:.3f} ± {stored['macro_f1']['std']:.3f}"
    assert cells(table, "bad") == [text, "0.750 ± 0.106"]
    assert "Mean ± standard deviation over folds (100 posts scored, 5 folds)." in table.to_text()
    assert table.remarks == []


def test_the_best_of_each_column_is_bold_and_so_are_its_equals(runs: Path) -> None:
    store(runs, "equal")
    table = tabulate_runs([runs], metrics=["accuracy"])
    assert {row.name: cells(table, row.name)[0].startswith("**") for row in table.rows} == {
        **{"good": True, "even": False, "bad": False, "equal": True}
    }
    assert "**" not in tabulate_runs([runs / "good"]).to_text("markdown")


def test_marks_are_those_of_the_tests(runs: Path) -> None:
    table = tabulate_runs([runs], metrics=["accuracy"], against=runs / "good")
    assert cells(table, "Run") == ["Accuracy", "McNemar p", "t p, Accuracy"]
    assert cells(table, "good")[1:] == ["-", "-"]
    for name in ("even", "bad"):
        found = compare_runs(read_run(runs / name), read_run(runs / "good")).comparison
        row = next(row for row in table.rows if row.name == name)
        assert row.test == found
        assert found is not None
    # Five posts against none: mid-p 2 · 2⁻⁵ − 2⁻⁵. The same difference in every fold has no t-test.
    assert cells(table, "even") == ["0.950", r"0.031\*", "-"]
    accuracy, mcnemar, t = cells(table, "bad")
    assert mcnemar == r"\<0.001\*\*"
    assert 0.01 < float(t) < 0.05
    assert accuracy.endswith(r"\*")
    assert not accuracy.endswith(r"\*\*")
    assert r"- \* p \< 0.05, \*\* p \< 0.01 for a difference to good" in table.to_text("markdown")
    assert "*" not in tabulate_runs([runs]).to_text()


def test_the_named_run_is_added_found_by_its_row_or_refused(runs: Path) -> None:
    added = tabulate_runs([runs / "bad"], against=runs / "good")
    assert [row.name for row in added.rows] == ["good", "bad"]
    assert added.against == "good"
    assert tabulate_runs([runs], against=Path("even")).against == "even"
    with pytest.raises(
        ValueError, match="--against best: neither a run folder nor a row; the rows are good, even, bad"
    ):
        tabulate_runs([runs], against=Path("best"))


def test_runs_of_one_name_are_told_apart_by_their_folders(runs: Path, tmp_path: Path) -> None:
    store(tmp_path / "more", "good")
    table = tabulate_runs([runs / "good", tmp_path / "more", runs / "bad"])
    assert [row.name for row in table.rows] == ["runs/good", "more/good", "runs/bad"]


def test_other_posts_are_neither_ranked_nor_hidden(runs: Path) -> None:
    store_run(runs / "few", [answers(0, 30, wrong=[1])])
    table = tabulate_runs([runs], metrics=["accuracy"], against=runs / "good")
    page = table.to_text("markdown")
    assert "| **" not in page
    assert "not all rows were tested on the same posts: good, even, bad; few" in page
    assert "few: 30 posts are common to the 30 and 100 tested, so no t-test" in page
    assert "good, even, bad: 100 posts scored, 5 folds; few: 30 posts scored, one split" in page
    assert cells(table, "few")[0] == "0.967"


def test_relabelled_posts_are_other_posts(tmp_path: Path) -> None:
    one = store_run(tmp_path / "one", [answers(0, 30)])
    two = store_run(tmp_path / "two", [answers(0, 30, every=3)])
    edited = store_run(tmp_path / "edited", [answers(0, 30)], contents={"p3": "edited"})
    assert not tabulate_runs([one, two]).comparable
    assert not tabulate_runs([one, edited]).comparable
    assert tabulate_runs([one, one]).rows[0].name == "one"


def test_single_splits_have_no_deviation_and_no_t_test(tmp_path: Path) -> None:
    one = store_run(tmp_path / "one", [answers(0, 30)])
    two = store_run(tmp_path / "two", [answers(0, 30, wrong=range(9))])
    table = tabulate_runs([one, two], metrics=["accuracy"], against=one)
    assert "Test metrics (30 posts scored, one split)." in table.to_text()
    assert "two: one split, so no t-test." in table.to_text()
    assert cells(table, "two") == ["0.700", r"0.002\*\*"]
    line = list(csv.DictReader(table.to_text("csv").splitlines()))[1]
    assert line["accuracy_std"] == ""
    assert (line["common_posts"], line["corrected_t_accuracy"]) == ("30", "")
    assert float(line["accuracy_difference"]) == pytest.approx(-0.3)


def test_csv_has_every_number_in_full(runs: Path) -> None:
    table = tabulate_runs([runs], against=runs / "good", intervals=True)
    lines = {line["name"]: line for line in csv.DictReader(table.to_text("csv").splitlines())}
    stored = json.loads((runs / "bad" / "metrics.json").read_text())
    assert float(lines["bad"]["macro_f1_mean"]) == stored["metrics"]["macro_f1"]["mean"]
    assert float(lines["bad"]["accuracy_low"]) == stored["intervals"]["accuracy"]["low"]
    assert lines["bad"]["weighted_f1_low"] == ""
    test = table.rows[2].test
    assert test is not None
    assert float(lines["bad"]["corrected_t_weighted_f1"]) == test.corrected_t["weighted_f1"]
    assert lines["good"]["mcnemar"] == ""


def test_intervals_are_the_stored_ones_and_lacking_ones_are_named(runs: Path) -> None:
    store_run(runs / "tiny", [answers(0, 6)])
    table = tabulate_runs([runs], metrics=["accuracy", "mcc"], intervals=True)
    stored = json.loads((runs / "bad" / "metrics.json").read_text())["intervals"]["accuracy"]
    assert rf"\[{stored['low']:.3f}, {stored['high']:.3f}\]" in cells(table, "bad")[0]
    assert "[" not in "".join([cells(table, "bad")[1], *cells(table, "tiny")])
    assert table.remarks[1:] == [
        "No interval is stored for MCC.",
        "No interval for tiny: the posts form fewer than 10 groups of duplicates.",
    ]


def test_equal_baselines_are_one_row_tested_by_their_stored_predictions(tmp_path: Path) -> None:
    known = {"baselines": {"majority": summary(0.6), "linear": summary(0.7)}}
    wrong = {"majority": range(0, 100, 2), "linear": [*range(0, 100, 10), *range(1, 60, 10)]}
    one, two = (store(tmp_path, name, **known, predicted=wrong) for name in ("one", "two"))
    other = store(tmp_path, "other", baselines={"majority": summary(0.6), "linear": summary(0.72)})
    table = tabulate_runs([one, two, other], metrics=["accuracy"], baselines=True, intervals=True, against=two)
    assert [row.name for row in table.rows[3:]] == ["majority", "linear (one, two)", "linear (other)"]
    linear = table.rows[4].test
    assert linear is not None
    assert (linear.only_head, linear.only_other) == (0, 16)
    found = linear.intervals["accuracy"]
    score, difference, *_ = cells(table, "linear (one, two)")
    assert score == r"0.700 ± 0.100 \[1.000, 1.000\]\*"
    assert difference == rf"-0.160 \[{found.low:+.3f}, {found.high:+.3f}\]"
    assert cells(table, "linear (other)") == ["0.720 ± 0.100", "-", "-", "-"]
    old = "linear (other): no test, since runs of earlier versions do not store the predictions of baselines."
    assert table.remarks == ["No interval is stored for baselines of earlier versions.", old]
    line = {one["name"]: one for one in csv.DictReader(table.to_text("csv").splitlines())}["majority"]
    assert float(line["accuracy_difference_low"]) < -0.5 < float(line["accuracy_difference_high"])
    assert len(tabulate_runs([one, two, other]).rows) == 3


def test_an_unknown_metric_names_near_ones(runs: Path) -> None:
    with pytest.raises(ValueError, match="--metric macro-f1: not a metric; did you mean macro_f1"):
        tabulate_runs([runs], metrics=["macro-f1"])


def test_headings_are_those_of_papers() -> None:
    assert [heading(name) for name in METRICS] == ["Accuracy", "Balanced accuracy", "Macro F1", "Weighted F1", "MCC"]


@pytest.mark.slow
def test_a_table_with_all_that_it_can_show_compiles(tmp_path: Path) -> None:
    """Names of runs hold what LaTeX would take for commands; the differences to one run have a Greek letter."""
    known: dict[str, Any] = {"baselines": {"linear": summary(0.7)}, "predicted": {"linear": range(0, 60, 3)}}
    one, two = store(tmp_path, "good", **known), store(tmp_path, "bad_#1 & 50% {x} \\input $^~", **known)
    for metrics in ([], list(METRICS)):
        table = tabulate_runs([one, two], metrics=metrics, baselines=True, intervals=True, against=one)
        latex = table.to_text("latex")
        assert r"$\Delta$ Accuracy" in latex
        assert "not for pdflatex" not in latex
        compile_latex(tmp_path, latex)
