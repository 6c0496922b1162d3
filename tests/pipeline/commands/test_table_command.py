"""`msa table`: where it prints, what it writes, what it refuses, and what of msa.toml is for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stored_runs import answers, store_run

from msa.cli import run_command


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, wrong in {"a_1": [1, 25], "b": [2, 3, 4, 21, 22]}.items():
        store_run(tmp_path / "runs" / name, [answers(0, 20, wrong=wrong), answers(20, 40, wrong=wrong)])
    store_run(tmp_path / "runs" / "c", [answers(0, 20), answers(20, 60)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_runs_are_named_as_in_other_commands(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["table", "b", "runs/a_1", "--against", "a_1", "--metric", "mcc"]) == 0
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()[:4]] == ["Run", "---", "b", "a_1"]
    assert "for a difference to a_1" in printed.out
    assert printed.err == ""


def test_a_file_holds_what_would_be_printed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["table", "runs", "--to", "latex"]) == 0
    printed = capsys.readouterr().out
    assert r"a\_1 & 0.950" in printed
    assert run_command(["table", "runs", "--to", "latex", "--out", "paper/table.tex"]) == 0
    assert capsys.readouterr().out == f"written: {Path('paper/table.tex')}\n"
    assert (home / "paper" / "table.tex").read_text() == printed


def test_what_csv_has_no_place_for_is_printed_beside_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["table", "runs", "--to", "csv", "--against", "b"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 4
    assert "msa: c: 40 posts are common to the 60 and 40 tested, so no t-test." in printed.err


def test_json_has_the_tests(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["table", "a_1", "b", "--against", "b", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["against"], found["rows"][1]["paired"], found["remarks"]) == ("b", None, [])
    assert found["rows"][0]["paired"]["comparison"]["only_head"] == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs", "--json", "--to", "csv"], "--json and --to csv are two formats; leave out one of them"),
        (["runs", "--out", "runs"], f"--out runs is a folder; name a file in it, as {Path('runs/table.tex')}"),
        (["nothing"], "there is no run 'nothing'"),
        (["runs", "--metric", "f1"], "--metric f1: not a metric; known are accuracy, balanced_accuracy, macro_f1"),
    ],
)
def test_mistakes_are_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run_command(["table", *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.splitlines()) == 1


def test_the_metric_that_picks_epochs_is_no_column(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "msa.toml").write_text('metric = "loss"\n\n[table]\nintervals = true\n')
    assert run_command(["table", "b"]) == 0
    assert "Weighted F1" in capsys.readouterr().out
    (home / "msa.toml").write_text('[table]\nmetric = ["mcc"]\n')
    assert run_command(["table", "b"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["Run", "MCC"]
