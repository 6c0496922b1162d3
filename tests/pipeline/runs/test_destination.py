"""What dooms a run is found before anything is trained; a killed command leaves no half of a run."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cached_posts import HEAD, QUICK, cached_posts, stage

from msa.cli import run_command
from msa.features.encoders.sources import EncoderRequest
from msa.features.posts.samples import Corpus
from msa.pipeline.ablation import ablation_table
from msa.pipeline.ablation.ablate import ablate
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.search_config import Search
from msa.pipeline.evaluation import curves
from msa.pipeline.evaluation.curves import learning_curve
from msa.pipeline.finetuning.finetune import finetune
from msa.pipeline.finetuning.request import TuneRequest
from msa.pipeline.predict import predict_corpus
from msa.pipeline.runs.destination import check_destination, check_writable, free_after_error, free_name, new_run
from msa.pipeline.sweeps.space import read_space
from msa.pipeline.sweeps.sweep import sweep
from msa.pipeline.train_head import train_head

ONCE = replace(QUICK, epochs=1)
SPACE = read_space(["hidden=4,8"], file=None)
Train = Callable[[Corpus, DataConfig, Path, str], object]
TRAIN: dict[str, Train] = {
    "train-head": lambda c, d, runs, name: train_head(c, d, HEAD, ONCE, runs=runs, name=name),
    "ablate": lambda c, d, runs, name: ablate(c, d, HEAD, ONCE, runs=runs, name=name),
    "learning-curve": lambda c, d, runs, name: learning_curve(c, d, HEAD, ONCE, shares=[1], runs=runs, name=name),
    "sweep": lambda c, d, runs, name: sweep(c, d, SPACE, HEAD, ONCE, Search(trials=2), runs=runs, name=name),
}


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


@pytest.mark.parametrize("command", TRAIN)
def test_a_run_that_cannot_be_written_is_refused_before_features_are_read(command: str, tmp_path: Path) -> None:
    nothing, no_cache = Corpus(tmp_path, "table", []), DataConfig(tmp_path / "no cache")
    with pytest.raises(ValueError, match=r"plain file name.*'\.\./out'"):
        TRAIN[command](nothing, no_cache, tmp_path / "runs", "../out")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"--runs \S*file: cannot be written \(.*; give another folder"):
        TRAIN[command](nothing, no_cache, tmp_path / "file", "one")
    assert not (tmp_path / "runs").exists()


def test_a_read_only_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:
        assert dir == tmp_path
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(ValueError, match=r"--out \S*tuned: cannot be written \(Read-only file system\)"):
        check_writable(tmp_path / "not" / "yet" / "tuned", "--out")
    with pytest.raises(ValueError, match="--out"):
        finetune(Corpus(tmp_path, "table", []), TuneRequest(EncoderRequest((), ("minilm",))), tmp_path / "tuned")


def test_predictions_that_cannot_be_written_are_refused_before_posts_are_read(
    posts: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_head(posts, stage(posts), HEAD, ONCE, runs=tmp_path, name="one").run
    (tmp_path / "file").touch()
    assert run_command(["predict", str(run), str(tmp_path / "no posts"), "--out", str(tmp_path / "file")]) == 2
    assert "--out" in (printed := capsys.readouterr().err)
    assert "cannot be written" in printed
    odd = replace(posts, samples=[replace(posts.samples[0], id="a\ud800")])
    with pytest.raises(ValueError, match=r"the id 'a\\ud800' is not valid Unicode"):
        predict_corpus(run, odd, rows="all", cache=tmp_path / "no cache")


@pytest.mark.parametrize("command", TRAIN)
@pytest.mark.parametrize("field", ["id", "label"])
def test_texts_that_no_file_can_hold_are_refused_before_training(
    posts: Corpus, tmp_path: Path, command: str, field: str
) -> None:
    odd = replace(posts, samples=[replace(posts.samples[0], **{field: "a\ud800"}), *posts.samples[1:]])
    with pytest.raises(ValueError, match=rf"the {field} 'a\\ud800' is not valid Unicode"):
        TRAIN[command](odd, stage(posts), tmp_path, "one")


@pytest.mark.parametrize("command", [name for name in TRAIN if name != "sweep"])
def test_a_cache_that_cannot_hold_the_split_is_refused_before_training(
    posts: Corpus, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("msa.pipeline.train_head.train_folds", "msa.pipeline.evaluation.curves.train_folds"):
        monkeypatch.setattr(module, lambda *given, **more: pytest.fail("trained"))
    monkeypatch.setattr("msa.pipeline.ablation.ablate.train_experiments", lambda *given, **more: pytest.fail("trained"))
    splits = posts.root / "cache" / "splits"
    splits.rename(posts.root / "kept") if splits.exists() else (posts.root / "kept").mkdir()
    splits.touch()
    try:
        with pytest.raises(OSError, match="splits"):
            TRAIN[command](posts, stage(posts), tmp_path, "one")
    finally:
        splits.unlink()
        (posts.root / "kept").rename(splits)


@pytest.mark.parametrize(("command", "module"), [("ablate", ablation_table), ("learning-curve", curves)])
def test_a_command_that_ends_while_it_writes_leaves_no_run(
    posts: Corpus, tmp_path: Path, command: str, module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def write_one(path: Path, content: bytes) -> None:
        written.append(path)
        path.write_bytes(content)
        assert not list(tmp_path.glob("[!.]*/*"))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_atomic", write_one)
    with pytest.raises(KeyboardInterrupt):
        TRAIN[command](posts, stage(posts), tmp_path, "one")
    assert written
    assert list(tmp_path.iterdir()) == []


def test_a_run_has_its_files_at_once(tmp_path: Path) -> None:
    with new_run(tmp_path, "one") as (path, temp):
        (temp / "a").touch()
        assert list(path.iterdir()) == []
    assert [file.name for file in path.iterdir()] == ["a"]
    with new_run(tmp_path, "one") as (other, _):
        assert other == tmp_path / "one-2"


def test_what_killed_runs_left_is_deleted_and_what_is_being_written_stays(tmp_path: Path) -> None:
    old, new, run = (tmp_path / name for name in (".one-0.tmp", ".two-0.tmp", "one"))
    for folder in (old, new, run):
        folder.mkdir()
        (folder / "file").touch()
    os.utime(old, (0, 0))
    os.utime(run, (0, 0))
    check_destination(tmp_path, "three")
    assert sorted(tmp_path.iterdir()) == [new, run]


def test_a_run_that_cannot_be_written_leaves_its_name_free(tmp_path: Path) -> None:
    path = free_name(tmp_path, "gated")
    with pytest.raises(OSError, match="too large"), free_after_error(path):
        raise OSError("too large")
    assert not list(tmp_path.iterdir())
