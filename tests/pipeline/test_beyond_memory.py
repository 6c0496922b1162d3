"""The commands of stage two on features that do not fit into `--memory`: each works, in blocks, and says so."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

import pytest
from cached_posts import cached_posts

from msa.cli import run_command
from msa.features.store.joined import joined_folders

QUICK = ("--epochs", "2", "--hidden", "16")
TOKENS = ("--fusion", "attention", "--patches", "none", "--token-width", "4")
ENCODERS = ("--image", "images", "--text", "texts", "--device", "cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of posts and their features, and a run on tokens that was trained beyond memory."""
    folder = tmp_path_factory.mktemp("posts")
    with (folder / "posts.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["id", "image", "text", "label"])
        for one in cached_posts(folder).samples:
            assert one.image
            lines.writerow([one.id, one.image.name, one.text, one.label])
    assert here(folder, "train-head", *ENCODERS, *TOKENS, *QUICK, "--folds", "2", "--name", "run") == 0
    return folder


def here(folder: Path, command: str, *options: str, run: Sequence[str] = ()) -> int:
    with chdir(folder):
        return run_command([command, *run, "posts.csv", *options, "--memory", "10kB"])


def test_a_run_is_written_evaluated_and_reproduced(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(joined_folders(home / "cache")) == 2
    assert (home / "runs" / "run" / "report.html").exists()
    assert here(home, "evaluate", "--missing", "both", run=["runs/run"]) == 0
    printed = capsys.readouterr()
    assert "100.00% of the stored predictions are reproduced" in printed.out
    assert "more than --memory (1e-05 GB): they are read in blocks from" in printed.err
    assert len(joined_folders(home / "cache")) == 2


@pytest.mark.parametrize("how", ["retrain", "zero", "mean", "shuffle", "null"])
def test_ablations_read_blocks(home: Path, how: str) -> None:
    options = ("--folds", "2", "--how", how, "--name", f"ablate-{how}")
    assert here(home, "ablate", *ENCODERS, *TOKENS, *QUICK, *options) == 0


def test_learning_curves_and_sweeps_read_blocks(home: Path) -> None:
    shares = ("--folds", "2", "--shares", "0.5,1")
    assert here(home, "learning-curve", *ENCODERS, "--fusion", "kernel", *QUICK, *shares) == 0
    search = ("--set", "lr=1e-3,1e-2", "--trials", "2", "--inner", "2")
    assert here(home, "sweep", *ENCODERS, "--fusion", "gated", *QUICK, *search) == 0
    assert here(home, "sweep", *ENCODERS, *TOKENS, *QUICK, *search, "--name", "tokens") == 0


def test_a_classifier_that_reads_everything_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert here(home, "train-head", *ENCODERS, "--fusion", "estimator:sklearn.svm.SVC") == 2
    assert "give a larger --memory, another --fusion, or fewer posts by --limit" in capsys.readouterr().err
