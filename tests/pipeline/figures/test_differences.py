"""Runs are compared with the first on the test rows that both have, with intervals of the differences."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored_runs import answers, store_run

from msa.pipeline.figures.systems import difference_charts, difference_table
from msa.pipeline.figures.words import Words
from msa.pipeline.runs.stored_run import read_runs


def test_table_and_chart_have_differences_with_their_intervals(tmp_path: Path) -> None:
    folds = [answers(0, 40), answers(40, 80)]
    worse = [answers(0, 40, wrong=range(0, 40, 5)), answers(40, 80)]
    runs = read_runs([store_run(tmp_path / "first", folds), store_run(tmp_path / "second", worse)])
    (chart,) = difference_charts(runs, Words())
    table = difference_table(runs, Words())
    low, high = (float(one) for one in chart.rows[0][3:])  # type: ignore[arg-type]
    assert chart.rows[0][:3] == ["second", "accuracy", pytest.approx(-0.1)]
    assert -0.2 < low < -0.1 < high < 0
    assert table.rows[0][:2] == ["second", f"-0.100 [{low:+.3f}, {high:+.3f}]"]
    assert table.rows[0][-1] == "80"
    assert "first" in table.caption


def test_without_common_rows_there_is_no_chart_and_the_table_says_so(tmp_path: Path) -> None:
    paths = [store_run(tmp_path / "first", [answers(0, 9)]), store_run(tmp_path / "far", [answers(50, 59)])]
    runs = read_runs(paths)
    assert difference_charts(runs, Words()) == []
    assert difference_table(runs, Words()).rows == [["far", "–", "–", "–", "–", "0"]]
