"""Options of how posts are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from msa.cli import run_command


def test_the_folder_of_images_is_an_option_and_a_key_of_the_configuration_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"x")
    (tmp_path / "work" / "tables").mkdir(parents=True)
    (tmp_path / "work" / "tables" / "t.csv").write_text("image,text\n1.jpg,hello\n")
    monkeypatch.chdir(tmp_path / "work")

    def missing(*options: str) -> int:
        assert run_command(["check", "tables/t.csv", "--json", *options]) == 0
        return int(json.loads(capsys.readouterr().out)["missing_image"])

    assert missing() == 1
    assert missing("--images", "../pictures") == 0
    Path("msa.toml").write_text('images = "../pictures"\n')
    assert missing() == 0
    assert missing("--images", "tables") == 1
    monkeypatch.chdir(tmp_path)
    assert run_command(["--config", "work/msa.toml", "check", "work/tables/t.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing_image"] == 0


def test_all_problems_are_printed_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("image,text\n" + "".join(f"{n}.jpg,hello {n}\n" for n in range(14)))
    assert run_command(["check", "t.csv"]) == 0
    short = capsys.readouterr().out.splitlines()
    assert short[-1] == "and 4 more; --all prints them"
    assert run_command(["check", "t.csv", "--all"]) == 0
    assert capsys.readouterr().out.splitlines()[-14:] == [
        f"t.csv:{n + 2}: image '{n}.jpg' does not exist" for n in range(14)
    ]


def test_commands_end_with_an_error_where_all_images_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("image,text,label\n1.jpg,hello,a\n2.jpg,bye,b\n")
    for command in (["extract"], ["extract", "--dry-run"]):
        assert run_command([*command, "t.csv"]) == 2
        assert "none of the 2 posts in . has an image" in capsys.readouterr().err
    Path("data").mkdir()
    Path("data/1.txt").write_text(" \n")
    Path("train.txt").write_text("1,a\n")
    assert run_command(["extract", ".", "--image", "none", "--text", "lexicon"]) == 1
    assert "every item of lexicon is missing or empty" in capsys.readouterr().err
