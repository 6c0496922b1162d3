"""`--preset`: what it stands for is printed; flags win, and so does msa.toml where the preset is a line of it."""

from __future__ import annotations

import json
import re
from contextlib import chdir
from pathlib import Path
from typing import Any, get_args

import pytest
from cached_posts import cached_posts

import msa
from msa.cli import run_command
from msa.features.encoders import zoo
from msa.features.encoders.variants import parse_encoder_name
from msa.heads.registry import ENTRIES
from msa.pipeline.commands.recipes import read_recipe
from msa.pipeline.config import presets
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.presets import ENCODERS, FOLDER, Preset, as_options, read_preset
from msa.pipeline.trainings import preset_settings

PRESETS = get_args(Preset)
CACHED = ["--image", "images", "--text", "texts", "--device", "cpu"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("presets")
    lines = [f"{one.id},{one.image},{one.text},{one.label}" for one in cached_posts(folder).samples]
    (folder / "posts.csv").write_text("\n".join(["id,image,text,label", *lines]))
    return folder


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset `fast` is a small head on the cached posts."""
    (tmp_path / "fast.toml").write_text(
        'image = "images"\ntext = ["texts"]\nfusion = "concat"\nhidden = 8\nepochs = 2\n'
    )
    monkeypatch.setattr(presets, "FOLDER", tmp_path)


def trained(home: Path, *arguments: str) -> dict[str, Any]:
    """The stored config of a run of train-head; the configuration file is `msa.toml`, where there is one."""
    runs = home / "runs"
    before = set(runs.glob("*"))
    with chdir(home):
        assert run_command(["train-head", "posts.csv", *arguments]) == 0
    (run,) = set(runs.glob("*")) - before
    config: dict[str, Any] = json.loads((run / "config.json").read_text())
    return config


def test_each_preset_is_a_file_of_options_of_embedded_encoders() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == {*PRESETS}
    for name in PRESETS:
        options = read_preset(name)
        for modality in ("image", "text"):
            given = options[modality] if isinstance(options[modality], list) else [options[modality]]
            assert all(zoo.ENCODERS[parse_encoder_name(one).base].origin == "PyPI package" for one in given), name
        settings = preset_settings(name)
        assert len(settings) == len(options), "every option is a setting that the Python functions take"
        head = HeadConfig(**{key: value for key, value in settings.items() if key in HeadConfig.__dataclass_fields__})
        assert all(fusion in ENTRIES for fusion in head.fusions)


def test_the_fast_preset_is_what_the_commands_do_without_options() -> None:
    settings = preset_settings("fast")
    assert settings == {name: getattr(DataConfig(), name) for name in ENCODERS} | {"fusion": HeadConfig().fusion}
    assert not HeadConfig().tokens


def test_the_options_are_printed_as_they_would_be_typed(capsys: pytest.CaptureFixture[str], small: None) -> None:
    assert run_command(["extract", "nowhere", "--preset", "fast"]) == 2
    assert "preset fast: --image images --text texts\n" in capsys.readouterr().err
    assert run_command(["train-head", "nowhere", "--preset", "fast"]) == 2
    line = "preset fast: --image images --text texts --fusion concat --hidden 8 --epochs 2\n"
    assert line in capsys.readouterr().err
    assert as_options({"image": ["a b", "c"], "average-views": True}) == "--image 'a b' --image c --average-views"


def test_flags_win_over_a_preset_and_a_typed_preset_over_the_file(home: Path, small: None) -> None:
    (home / "msa.toml").write_text('hidden = 16\nlr = 1e-3\nfusion = "gated"\n')
    config = trained(home, "--preset", "fast", "--epochs", "3")
    head, training = config["head"], config["training"]
    assert (head["fusion"], head["hidden"], training["epochs"], training["lr"]) == ("concat", 8, 3, 1e-3)


def test_a_preset_of_the_file_comes_after_its_other_lines(
    home: Path, capsys: pytest.CaptureFixture[str], small: None
) -> None:
    (home / "msa.toml").write_text('preset = "fast"\nhidden = 16\n')
    head = trained(home)["head"]
    assert (head["fusion"], head["hidden"]) == ("concat", 16)
    capsys.readouterr()
    head = trained(home, "--recipe", "NaiveCombine", *CACHED)["head"]
    assert (head["fusion"], head["hidden"]) == (read_recipe("NaiveCombine").options["fusion"], 16)
    assert "the preset fast of msa.toml is not used beside --recipe" in capsys.readouterr().err
    (home / "msa.toml").unlink()


@pytest.mark.parametrize("other", [["--recipe", "R2-fourway"], ["--from", "runs/concat"]])
def test_two_sets_of_options_are_refused(
    home: Path, capsys: pytest.CaptureFixture[str], small: None, other: list[str]
) -> None:
    if not (home / "runs/concat").exists():
        trained(home, "--preset", "fast", "--name", "concat")
    with chdir(home):
        assert run_command(["train-head", "posts.csv", "--preset", "fast", *other]) == 2
    assert f"{other[0]} and --preset are two sets of options" in capsys.readouterr().err
    with chdir(home):
        assert run_command(["train-head", "posts.csv", "--preset", "quick"]) == 2
    assert re.search("not one of.*fast.*good.*best", capsys.readouterr().err)


def test_another_head_does_not_get_the_settings_of_a_presets_own(
    home: Path, capsys: pytest.CaptureFixture[str], small: None
) -> None:
    with chdir(home):
        assert run_command(["train-head", "posts.csv", "--preset", "fast", "--fusion", "gated"]) == 2
        instead = "for gated give `--image images --text texts` instead"
        assert f"the settings of preset fast are for its head concat; {instead}" in capsys.readouterr().err
        assert run_command(["ablate", "posts.csv", "--preset", "fast", "--fusion", "concat,gated"]) == 2
    with pytest.raises(ValueError, match="are for its head concat"):
        msa.train_head(home / "posts.csv", "gated", preset="fast", cache=home / "cache")


def test_python_takes_a_preset_and_what_is_given_wins(home: Path, small: None) -> None:
    where: dict[str, Any] = {"cache": home / "cache", "runs": home / "python", "device": "cpu"}
    run = msa.train_head(home / "posts.csv", preset="fast", hidden=4, **where)
    assert run.stored.config["head"]["fusion"] == "concat"
    assert (run.stored.config["head"]["hidden"], run.stored.config["training"]["epochs"]) == (4, 2)
    with pytest.raises(ValueError, match="unknown preset 'fastest'; did you mean fast"):
        msa.extract(home / "posts.csv", preset="fastest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'images'"):  # no encoder, but features that were written by the test
        msa.extract(home / "posts.csv", preset="fast", text=None, cache=home / "cache")
