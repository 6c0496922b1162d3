"""Commands on a terminal 80 columns wide: what they show, in which order, and what they say when interrupted."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from progress_records import Records
from rich.cells import cell_len
from terminal import Shown, run_on_terminal

from msa.cli import run_command
from msa.features.extraction import embed
from msa.features.progress import watched
from msa.pipeline.demo.demo import write_demo_corpus
from msa.pipeline.sweeps import sweep as sweep_module
from msa.pipeline.sweeps.sweep_progress import SweepProgress
from msa.pipeline.training.epochs import EpochCounter, TrainedEpoch

needs_pty = pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
WORDS = {"positive": "happy and great", "negative": "sad bad awful", "neutral": "a table"}
TEXT = ["--image", "none", "--text", "lexicon"]
TRAIN = ["train-head", "posts.csv", *TEXT, "--fusion", "text", "--epochs", "4", "--hidden", "8"]
SWEEP = ["sweep", "posts.csv", *TEXT]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with posts whose texts are extracted."""
    rows = [f"p{n},{WORDS[label]} {n},{label}" for n, label in enumerate([*WORDS] * 20)]
    (tmp_path / "posts.csv").write_text("\n".join(["id,text,label", *rows, ""]))
    monkeypatch.chdir(tmp_path)
    assert run_command(["extract", "posts.csv", *TEXT]) == 0
    capsys.readouterr()
    return tmp_path


def too_wide(shown: Shown) -> list[str]:
    return [line for line in shown.lines if cell_len(line) > 80]


def test_train_head_names_its_stages_and_starts_before_the_posts_are_read(home: Path) -> None:
    records = Records()
    with watched(records):
        assert run_command([*TRAIN, "--folds", "2"]) == 0
    assert records.of("stage") == [
        *("loading", "reading posts", "loading embeddings", "training text", "fitting baselines"),
        *("bootstrap intervals and tests", "writing the run", "drawing the report"),
    ]
    kinds = [kind for kind, _ in records.events]
    assert kinds.index("finish") > max(at for at, kind in enumerate(kinds) if kind == "stage")
    assert records.of("step")[-1][:2] != ("epochs", 0)


@needs_pty
def test_train_head_on_a_terminal_shows_epochs_and_ends_with_the_report(home: Path) -> None:
    shown = run_on_terminal([*TRAIN, "--folds", "2", "--epochs", "100", "--patience", "0"], home)
    assert shown.code == 0
    assert too_wide(shown) == []
    assert "loading" in next(line for line in shown.lines if line)
    assert any("/200" in line and "epochs" in line for line in shown.lines)
    assert any(line.startswith("  fold ") and "validation loss" in line for line in shown.lines)
    last = [line for line in shown.lines if line]
    assert last[-2:] == ["run folder: runs/text", "report: runs/text/report.html"]
    assert "\x1b[1mScores by class" in shown.raw
    for title in ("Scores by class", "Head and baselines", "text minus baselines"):
        assert any(line.startswith(title) for line in last)


def test_json_is_pure_and_quiet_is_silent(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*TRAIN, "--folds", "0", "--json", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert json.loads(printed.out)["run"] == "runs/text"
    assert run_command(["--quiet", *TRAIN, "--fusion", "txet"]) == 2
    assert capsys.readouterr().err.startswith("msa: ")


def test_notices_are_printed_unless_quiet(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "posts.csv").write_text((home / "posts.csv").read_text() + "odd,a rare label,rare\n")
    run_command(["extract", "posts.csv", *TEXT, "--quiet"])
    capsys.readouterr()
    loud = [*TRAIN, "--folds", "2"]
    codes = run_command(loud), run_command([*loud, "--quiet"])
    assert codes[0] == codes[1]
    assert "rare" in capsys.readouterr().err


class Stop:
    """Interrupts at the nth call, as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def interrupted(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run_command(arguments) == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines(keepends=True)[-1]  # a slow machine shows its progress before


def test_an_interrupted_training_says_what_is_kept(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add = EpochCounter.add

    def stopping(self: EpochCounter, epoch: TrainedEpoch) -> None:
        add(self, epoch)
        stop()

    monkeypatch.setattr(EpochCounter, "add", stopping)
    stop = Stop(3)
    assert interrupted([*TRAIN, "--folds", "2"], capsys) == "msa: interrupted; nothing was written\n"
    assert not (home / "runs").exists()
    stop = Stop(3)
    err = interrupted([*TRAIN, "--folds", "2", "--checkpoint-every", "1"], capsys)
    kept = next((home / "runs" / ".unfinished").iterdir()).relative_to(home)
    assert err == f"msa: interrupted; the heads so far are kept in {kept}, and the same command continues there\n"


def test_an_interrupted_sweep_says_how_many_trials_are_kept(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    end, stop = SweepProgress.end, Stop(2)

    def stopping(self: SweepProgress) -> None:
        end(self)
        stop()

    monkeypatch.setattr(SweepProgress, "end", stopping)
    sweep = [*SWEEP, "--fusion", "text", "--set", "hidden=4,8,16", "--epochs", "2", "--folds", "2"]
    kept = "runs/sweep keeps what the trials have reached (2 of 3 trials have ended), and the same command continues"
    assert interrupted(sweep, capsys) == f"msa: interrupted; {kept} there\n"
    assert run_command(sweep) == 0
    assert "3 trials" in capsys.readouterr().out


def test_a_sweep_that_is_interrupted_before_its_first_trial_says_that_its_folder_is_there(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Stop(1)
    monkeypatch.setattr(sweep_module, "study_url", lambda study: stop())
    kept = "runs/sweep keeps what the trials have reached, and the same command continues there"
    assert interrupted([*SWEEP, "--set", "hidden=4,8"], capsys) == f"msa: interrupted; {kept}\n"
    assert (home / "runs" / "sweep" / "sweep.json").exists()


def test_an_interrupted_extraction_says_how_many_embeddings_are_kept(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = embed._map_ahead

    def stopping(*arguments: Any) -> Any:
        for number, one in enumerate(ahead(*arguments)):
            if number == 7:
                raise KeyboardInterrupt
            yield one

    monkeypatch.setattr(embed, "_map_ahead", stopping)
    monkeypatch.setattr(embed, "TEXT_WINDOW", 5)
    err = interrupted(["extract", "posts.csv", *TEXT, "--cache", "new"], capsys)
    assert err == "msa: interrupted; 5 new embeddings are kept in new, and the same command continues there\n"
    monkeypatch.setattr(embed, "_map_ahead", ahead)
    assert run_command(["extract", "posts.csv", *TEXT, "--cache", "new", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)["encoders"]
    assert (report["cached"], report["encoded"]) == (5, 55)


@needs_pty
@pytest.mark.slow
def test_no_command_of_the_readme_wraps_a_line(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
    block = page.split("```bash\n")[2].split("```")[0]
    commands = [line.split("  # ")[0].strip() for line in block.splitlines() if line.strip()]
    write_demo_corpus(tmp_path / "posts", posts=64)
    image = next((tmp_path / "posts" / "data").glob("*.png"))
    (tmp_path / "photo.jpg").write_bytes(image.read_bytes())
    more = ["msa demo demo", "msa encoders", "msa heads", "msa recipes", "msa cache ls", "msa cache verify posts"]
    more += ["msa sweep --fusion gated --set lr=1e-4,1e-3 --set hidden=8,16 --epochs 4", "msa table runs", "msa doctor"]
    more += [
        "msa evaluate runs/attention --missing both",
        "msa learning-curve --fusion gated --epochs 3",
        "msa report runs/attention",
    ]
    for line in [*commands, *more]:
        program, *arguments = shlex.split(line)
        assert program == "msa"
        shown = run_on_terminal(arguments, tmp_path)
        # one planted image of 64 is unreadable: more than one in a hundred, for which `extract` exits with 1
        assert shown.code == (1 if arguments == ["extract"] else 0), line
        assert too_wide(shown) == [], line
