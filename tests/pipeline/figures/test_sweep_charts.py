"""A sweep's page: Optuna's charts of all trials at a rung that all reached, the losses of the best, the leaderboard."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cached_posts import cached_posts
from cached_sweeps import search

from msa.cli import run_command
from msa.pipeline.config.search_config import Search
from msa.pipeline.figures import chart
from msa.pipeline.figures.report import write_report
from msa.pipeline.figures.sweep_charts import importances, sweep_charts
from msa.pipeline.figures.words import Words
from msa.pipeline.sweeps.leaderboard import SweepResult
from msa.pipeline.sweeps.stored_sweep import open_sweep


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    folder = tmp_path_factory.mktemp("sweep")
    return search(cached_posts(folder), folder / "runs", Search(trials=9, inner=2, halving=2))


def test_charts_show_every_trial_after_the_epochs_that_all_of_them_trained_for(found: SweepResult) -> None:
    sweep = open_sweep(found.path)
    assert sweep.compared == 2  # the first rung
    charts = {one.name: one for one in sweep_charts(sweep, Words())}
    settings = {"fusion", "lr", "hidden", "dropout"}
    assert {f"slice-{name}" for name in settings} | {"importance", "parallel", "sweep-loss"} == {*charts}
    (rows,) = found.rows
    for name in settings:
        points = charts[f"slice-{name}"].figure.axes[0].collections[0].get_offsets()
        assert len(points) == 9
        assert charts[f"slice-{name}"].rows == [[row.index, row.point[name], row.values[2]] for row in rows]
    shares = importances(sweep)
    assert charts["importance"].rows == [[name, share] for name, share in shares.items()]
    assert sum(shares.values()) == pytest.approx(1)
    bars = [one.get_width() for one in charts["importance"].figure.axes[0].patches]
    assert sorted(bars) == pytest.approx(sorted(shares.values()))
    assert len(charts["parallel"].figure.axes[0].collections[0].get_segments()) == 9  # type: ignore[attr-defined]


def test_a_page_draws_a_part_of_many_trials_and_its_table_has_all(
    found: SweepResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msa.pipeline.figures.sweep_charts.DRAWN", 4)
    sweep = open_sweep(found.path)
    slices = next(one for one in sweep_charts(sweep, Words()) if one.name == "slice-lr")
    assert len(slices.figure.axes[0].collections[0].get_offsets()) == 3
    assert len(slices.rows) == 9
    assert "Drawn are 3 of 9 trials" in slices.caption


def test_several_outer_folds_are_told(found: SweepResult, tmp_path: Path) -> None:
    stored = json.loads((found.path / "sweep.json").read_text())
    worse = [
        line | {"outer_fold": 1, "metrics": line["metrics"] and line["metrics"] | {"accuracy": 0.0}}
        for line in stored["leaderboard"][:4]
    ]
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps(stored | {"leaderboard": worse + stored["leaderboard"]}))
    assert len(open_sweep(tmp_path / "sweep").trials) == 9
    page = write_report([tmp_path / "sweep"], language="en").path.read_text("utf-8")
    assert "Shown are the trials of one of 2 outer folds" in page


def test_the_losses_of_the_best_trials_are_those_of_their_heads(found: SweepResult) -> None:
    drawn = sweep_charts(open_sweep(found.path), Words())[-1]
    best = found.best.index
    stored = next(row.notes["losses"] for row in found.rows[0] if row.index == best)
    assert [row[3] for row in drawn.rows if row[:2] == [best, "train"]] == stored["train"]
    assert len(stored["train"]) == len(stored["valid"]) == 8
    assert stored["train"][-1] < stored["train"][0]
    assert len({row[0] for row in drawn.rows}) == 8  # of 9 trials
    solid, dotted = drawn.figure.axes[0].lines[:2]
    assert (solid.get_linestyle(), dotted.get_linestyle()) == ("-", ":")


def test_the_report_of_a_sweep_is_a_page_with_files(
    found: SweepResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chart, "FORMATS", ("svg",))  # the others take seconds
    figures = tmp_path / "figures"
    command = ["report", str(found.path), "--pivot", "hidden,fusion", "--figures", str(figures), "--language", "zh"]
    assert run_command([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(found.path / "report.html")
    page = (found.path / "report.html").read_text("utf-8")
    for text in ("9 次试验，2 个内层折：3 次完成，6 次剪枝，0 次失败", "排行榜", "各超参数的重要性", "平行坐标图"):
        assert text in page
    assert "data:image" not in page
    assert "mathdefault" not in page  # formulas that no font shows
    with (figures / "table-leaderboard.csv").open(encoding="utf-8-sig") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["试验"]) for line in lines] == [row.index for row in sorted(found.rows[0], key=lambda r: r.order)]
    with (figures / "pivot.csv").open(encoding="utf-8-sig") as file:
        cells = {(int(cell["hidden"]), cell["fusion"]): cell for cell in csv.DictReader(file)}
    for row in sorted(found.rows[0], key=lambda r: r.order, reverse=True):  # the best of a cell comes last
        cell = cells[int(row.point["hidden"]), str(row.point["fusion"])]
        cell["best"] = str(row.value)
    assert all(cell["accuracy"] == cell["best"] for cell in cells.values())


def test_a_sweep_without_variation_or_end_is_said(found: SweepResult, tmp_path: Path) -> None:
    sweep = open_sweep(found.path)
    same = [replace(trial, values={2: 0.5}) for trial in sweep.trials]
    assert importances(replace(sweep, trials=same)) == {}
    assert [one.name for one in sweep_charts(replace(sweep, trials=same), Words())] == ["sweep-loss"]
    stored = json.loads((found.path / "sweep.json").read_text())
    (tmp_path / "sweep").mkdir()
    file = tmp_path / "sweep" / "sweep.json"
    file.write_text(json.dumps(stored | {"finished": False}))
    with pytest.raises(ValueError, match="is a sweep that is not finished; call msa sweep again"):
        write_report([file.parent])
    file.write_text(json.dumps(stored | {"leaderboard": [{}]}))
    with pytest.raises(ValueError, match=r"sweep\.json: not a sweep.*"):
        write_report([file.parent])
