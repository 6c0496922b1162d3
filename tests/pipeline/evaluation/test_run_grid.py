"""Runs as a table of encoders by heads."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from latex import compile_latex
from stored_runs import answers, store_run

from msa.pipeline.evaluation.run_grid import RunGrid
from msa.pipeline.evaluation.run_table import tabulate_runs

FOLDS = [range(start, start + 20) for start in range(0, 60, 20)]


def store(folder: Path, name: str, image: str, text: str, head: str, wrong: list[int]) -> Path:
    path = store_run(folder / name, [answers(one.start, one.stop, wrong=wrong) for one in FOLDS])
    config = json.loads((path / "config.json").read_text())
    config["encoders"] = {"image": [{"name": one} for one in image.split()], "text": [{"name": text}]}
    (path / "config.json").write_text(json.dumps(config))
    metrics = json.loads((path / "metrics.json").read_text())
    (path / "metrics.json").write_text(json.dumps(metrics | {"fusion": head}))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    store(tmp_path, "a", "", "minilm", "gated", [1, 2, 3, 21])
    store(tmp_path, "b", "", "minilm", "concat", [1, 2])
    store(tmp_path, "c", "lite0 lite_1", "minilm", "gated", [])
    return tmp_path


def test_encoders_are_rows_and_heads_are_columns(runs: Path) -> None:
    grid = RunGrid(tabulate_runs([runs], metrics=["accuracy"]))
    lines = grid.to_text("markdown").splitlines()
    assert lines[0] == "| Encoders | gated | concat |"
    assert lines[2] == r"| minilm | 0.933 ± 0.076 | 0.967 ± 0.058 |"
    assert lines[3] == r"| lite0 + lite\_1 + minilm | **1.000** | - |"
    assert lines[-1] == r"- Accuracy. Mean ± standard deviation over folds (60 posts scored, 3 folds)."


def test_several_metrics_have_a_column_each(runs: Path) -> None:
    grid = RunGrid(tabulate_runs([runs], metrics=["accuracy", "macro_f1"]))
    header = grid.to_paper().header
    assert header == ["Encoders", "Accuracy, gated", "Accuracy, concat", "Macro F1, gated", "Macro F1, concat"]


def test_csv_and_json_have_a_line_for_each_run(runs: Path) -> None:
    grid = RunGrid(tabulate_runs([runs], metrics=["accuracy"]))
    rows = list(csv.DictReader(grid.to_text("csv").splitlines()))
    assert [(row["encoders"], row["head"], row["name"]) for row in rows] == [
        ("minilm", "gated", "a"),
        ("minilm", "concat", "b"),
        ("lite0 + lite_1 + minilm", "gated", "c"),
    ]
    assert [row["head"] for row in grid.to_dict()["rows"]] == ["gated", "concat", "gated"]


def test_marks_of_tests_stand_in_their_cells(runs: Path) -> None:
    grid = RunGrid(tabulate_runs([runs], metrics=["accuracy"], against=runs / "a"))
    text = grid.to_text()
    assert "for a difference to a, by the corrected resampled t-test over folds; p-values" in text
    assert "McNemar" not in text


def test_two_runs_for_one_cell_are_refused_by_name(runs: Path) -> None:
    store(runs, "d", "", "minilm", "gated", [])
    table = tabulate_runs([runs])
    with pytest.raises(ValueError, match="2 runs are of the head gated on minilm: a, d; name the runs to show"):
        RunGrid(table)


def test_a_metric_that_runs_lack_is_a_dash_and_an_empty_cell(runs: Path) -> None:
    grid = RunGrid(tabulate_runs([runs], metrics=["mae"]))
    assert "| minilm | - | - |" in grid.to_text("markdown")
    assert next(csv.DictReader(grid.to_text("csv").splitlines()))["mae_mean"] == ""
    assert grid.to_dict()["rows"][0]["metrics"] == {"mae": None}


def test_latex_compiles(runs: Path, tmp_path: Path) -> None:
    compile_latex(tmp_path, RunGrid(tabulate_runs([runs])).to_text("latex"))
