"""`msa finetune` on the command line: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from tunable_posts import small_bert
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
    (fold,) = found["folds"]
    assert fold["encoders"] == {"text": {"folder": str(out), "base": "minilm"}}
    assert (fold["fold"], len(fold["history"])) == (0, 1)
    record = json.loads((out / "tuned.json").read_text())
    texts = {text_key(f"post number {n}") for n in range(16)}
    assert len({*record["trained"], *record["selected"]} & texts) == fold["rows"] + fold["valid_rows"] < 16
    assert json.loads((out / "training.json").read_text())["max_length"] == 12


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([], "one encoder of a modality is tuned at a time; give --image NAME, --text NAME, or both"),
        (["--text", "minilm", "--image", "efficientnet_lite0"], "add one, as --fusion concat"),
        (["--text", "minilm", "--fusion", "concat"], "joins an image and a text encoder; give both"),
        (["--text", "minilm", "--hidden", "64"], "are for a fusion head; add --fusion"),
    ],
)
def test_encoders_and_heads_that_do_not_go_together(tmp_path: Path, chosen: list[str], message: str) -> None:
    result = CliRunner().invoke(TOP, ["finetune", str(data(tmp_path)), "--out", str(tmp_path / "tuned"), *chosen])
    assert isinstance(result.exception, ValueError)
    assert message in str(result.exception)


def test_a_dry_run_writes_no_encoder(tmp_path: Path) -> None:
    bert = str(small_bert(tmp_path / "bert"))
    line = ["finetune", str(data(tmp_path)), "--text", bert, "--lora", "--max-length", "12", "--device", "cpu"]
    line += ["--out", str(tmp_path / "tuned"), "--cache", str(tmp_path / "cache"), "--dry-run", "--json"]
    result = CliRunner().invoke(TOP, line)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert 0 < found["trained"] < found["parameters"]
    assert found["bytes"] == found["weight_bytes"] + found["state_bytes"] + found["activation_bytes"]
    assert not (tmp_path / "tuned").exists()
