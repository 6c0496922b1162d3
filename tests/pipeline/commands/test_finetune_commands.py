"""`msa finetune` on the command line: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from msa.features.posts.content import text_key
from msa.pipeline.commands.finetuning import app

TOP = typer.Typer()
TOP.add_typer(app)


@TOP.callback()
def top() -> None:
    pass


def data(folder: Path) -> Path:
    """A table of sixteen short texts."""
    lines = ["id,text,label", *(f"p{n},post number {n},{'ab'[n % 2]}" for n in range(16))]
    (folder / "posts.csv").write_text("\n".join(lines))
    return folder / "posts.csv"


def test_an_encoder_is_tuned_from_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    line = ["finetune", str(data(tmp_path)), "--text", "minilm", "--out", str(out), "--cache", str(tmp_path / "cache")]
    result = CliRunner().invoke(TOP, [*line, "--epochs", "1", "--device", "cpu", "--max-length", "12", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert (found["folder"], found["base"], found["fold"], len(found["history"])) == (str(out), "minilm", 0, 1)
    record = json.loads((out / "tuned.json").read_text())
    texts = {text_key(f"post number {n}") for n in range(16)}
    assert len({*record["trained"], *record["selected"]} & texts) == found["rows"] + found["valid_rows"] < 16
    assert json.loads((out / "training.json").read_text())["max_length"] == 12


@pytest.mark.parametrize("chosen", [[], ["--text", "minilm", "--image", "efficientnet_lite0"]])
def test_one_encoder_is_wanted(tmp_path: Path, chosen: list[str]) -> None:
    result = CliRunner().invoke(TOP, ["finetune", str(data(tmp_path)), "--out", str(tmp_path / "tuned"), *chosen])
    assert isinstance(result.exception, ValueError)
    assert "one encoder is tuned at a time" in str(result.exception)
