"""msa.toml gives defaults to the options of the commands; what it cannot give is an error in one line."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from msa.cli import app as msa_app
from msa.pipeline.commands.config_file import (
    APART,
    ONE_OFF,
    apply_config,
    command_options,
    read_default_map,
)
from msa.pipeline.config.config_template import Commands, write_config

KNOWN = {"extract": ["data", "image", "batch-size"], "train-head": ["data", "fusion", "seed"]}


class Fusion(StrEnum):
    concat = "concat"
    attention = "attention"


def make_app() -> tuple[typer.Typer, dict[str, Commands]]:
    app, seen = typer.Typer(), dict[str, Commands]()

    @app.callback()
    def root(ctx: typer.Context, config: Annotated[Path | None, typer.Option()] = None) -> None:
        seen["commands"] = command_options(ctx)
        apply_config(ctx, config)

    @app.command("train-head")
    def train_head(
        data: Path,
        fusion: Annotated[Fusion, typer.Option(help="How to fuse.")] = Fusion.concat,
        folds: Annotated[int, typer.Option(help="How many\nfolds.")] = 1,
        encoders: Annotated[list[str] | None, typer.Option("--image")] = None,
        weights: Annotated[Path | None, typer.Option(exists=True)] = None,
        tokens: bool = True,
        force: Annotated[bool, typer.Option("--force")] = False,
    ) -> None:
        print([str(data), fusion.value, folds, encoders, weights and str(weights), tokens, force])

    @app.command()
    def extract(data: Path, tokens: bool = True) -> None:
        print([str(data), tokens])

    return app, seen


def run(*arguments: str) -> Result:
    return CliRunner().invoke(make_app()[0], arguments)


def write(folder: Path, text: str, name: str = "msa.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_top_level_keys_reach_every_command_with_the_option_and_tables_win(tmp_path: Path) -> None:
    path = write(tmp_path, 'data = "d"\nseed = 1\nbatch_size = 8\n[train_head]\nseed = 2\nfusion = "gated"\n')
    assert read_default_map(path, KNOWN) == {
        "extract": {"data": "d", "batch-size": 8},
        "train-head": {"data": "d", "seed": 2, "fusion": "gated"},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sead = 1", r"msa\.toml: unknown option 'sead'; did you mean seed\?"),
        ("zzz = 1", r"unknown option 'zzz'; known are batch-size, data, fusion, image, seed"),
        ("[train-heads]\nseed = 1", r"unknown command '\[train-heads\]'; did you mean \[train-head\]\?"),
        ("[extract]\nimages = 1", r"unknown option of \[extract\] 'images'; did you mean image"),
        ("[extract]\nfusion = 1", r"unknown option of \[extract\] 'fusion'"),
        ('data = "d"\nseed = = 1', r"msa\.toml: not a configuration file in TOML .*line 2"),
    ],
)
def test_what_no_command_knows_is_refused_with_the_near_names(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_default_map(write(tmp_path, text), KNOWN)
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'data = "\xff"')
    for name in ("latin.toml", "absent.toml"):
        with pytest.raises(ValueError, match=rf"{name}: not a configuration file in TOML .*msa init"):
            read_default_map(tmp_path / name, KNOWN)


def test_only_a_switch_is_true_or_false(folder: Path) -> None:
    write(folder, "folds = true\ntokens = false")
    assert "folds = true: only a switch is true or false" in str(run("train-head", "d").exception)
    assert run("extract", "d").output == "['d', False]\n"


def test_without_a_file_the_built_in_defaults_hold(folder: Path) -> None:
    assert run("train-head", "d").output == "['d', 'concat', 1, None, None, True, False]\n"


def test_flags_beat_the_file_and_the_file_beats_the_built_in_default(folder: Path) -> None:
    write(folder, 'data = "d"\ntokens = false\n[train-head]\nfolds = 5\nfusion = "attention"\nforce = true\n')
    assert run("train-head").output == "['d', 'attention', 5, None, None, False, True]\n"
    given = run("train-head", "e", "--folds", "3", "--tokens", "--fusion", "concat")
    assert given.output == "['e', 'concat', 3, None, None, True, True]\n"
    assert run("extract").output == "['d', False]\n"


@pytest.mark.parametrize(("value", "got"), [('"a"', ["a"]), ('["a", "b"]', ["a", "b"])])
def test_a_repeatable_option_takes_one_value_or_a_list(folder: Path, value: str, got: list[str]) -> None:
    write(folder, f'data = "d"\nimage = {value}\n')
    assert run("train-head").output == f"['d', 'concat', 1, {got}, None, True, False]\n"


def test_paths_count_from_the_files_folder(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    (other / "w.pth").touch()
    path = write(other, 'data = "posts"\n[train-head]\nweights = "w.pth"\n', "mine.toml")
    output = run("--config", str(path), "train-head").output
    assert output == f"['{other / 'posts'}', 'concat', 1, None, '{other / 'w.pth'}', True, False]\n"
    assert f"'{folder / 'flag'}'" in run("--config", str(path), "train-head", str(folder / "flag")).output


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('fusion = "atention"', r"fusion = \"atention\": 'atention' is not one of .*; did you mean 'attention'\?"),
        ('folds = "many"', r"folds = \"many\": .*integer.*; see `msa train-head --help`"),
        ("folds = 1.5", r"folds = 1\.5: .*integer"),
        ('weights = "absent.pth"', r"weights = \"absent\.pth\": .*does not exist"),
        ("data = [1]", r"data = \[1\]: .*path"),
    ],
)
def test_a_wrong_value_is_blamed_on_the_file_in_one_line(folder: Path, line: str, message: str) -> None:
    write(folder, f"[train-head]\n{line}\n")
    error = run("train-head").exception
    assert isinstance(error, ValueError)
    assert str(error).startswith("msa.toml: ")
    assert "\n" not in str(error)
    with pytest.raises(ValueError, match=message):
        raise error


def test_another_commands_values_do_not_stop_this_one(folder: Path) -> None:
    write(folder, 'data = "d"\n[train-head]\nfolds = "many"\n')
    assert run("extract").output == "['d', True]\n"


def test_the_template_lists_every_option_and_its_comments_are_the_defaults(folder: Path) -> None:
    app, seen = make_app()
    CliRunner().invoke(app, ["extract", "d"])
    path = folder / "msa.toml"
    write_config(path, data="po\\sts", image="vgg16", text="minilm", commands=seen["commands"])
    text = path.read_text(encoding="utf-8")
    assert tomllib.loads(text) == {"data": "po\\sts", "image": "vgg16", "text": "minilm", "train-head": {}}
    assert "# tokens = true\n" in text.split("[train-head]")[0], "options of several commands are on top"
    assert '# fusion = "concat"  # How to fuse.\n# folds = 1  # How many folds.\n# weights (unset)\n' in text

    lines = [line.removeprefix("# ") if " = " in line else line for line in text.splitlines()]
    path.write_text("\n".join(line for line in lines if line != 'text = "minilm"'), encoding="utf-8")
    output = run("train-head", "--folds", "1").output  # the commented defaults are valid values, each of them
    assert output == "['po\\\\sts', 'concat', 1, ['vgg16'], None, True, False]\n"


def test_the_options_of_msa_that_are_alike_mean_alike() -> None:
    """A top-level key of msa.toml counts for every command with that option, so one spelling must have one meaning."""
    ctx = typer.Context(typer.main.get_command(msa_app))  # type: ignore[arg-type]
    commands = command_options(ctx)
    assert ONE_OFF.keys() <= commands.keys()
    meanings: dict[str, set[str]] = {}
    del commands["finetune"]  # its options are of an encoder's training and have their own table
    for command, known in commands.items():
        assert not ONE_OFF.get(command, set()) & known.keys()
        for spelling, setting in known.items():
            if spelling not in APART.get(command, ()):
                meanings.setdefault(spelling, set()).add(setting.help)
    # The run's own cache; the defaults of names; one head, or many to compare; their number, or in sweeps also greedy.
    several = {"cache", "name", "fusion", "ensemble"}
    assert {spelling for spelling, helps in meanings.items() if len(helps) > 1} <= several


def test_what_means_another_thing_in_one_command_is_not_shared_with_it(tmp_path: Path) -> None:
    path = write(tmp_path, "lr = 1e-3\ncache = 'there'\n")
    commands = {"finetune": ["lr", "cache"], "train-head": ["lr", "cache"]}
    found = read_default_map(path, commands)
    assert found == {"finetune": {"cache": "there"}, "train-head": {"lr": 1e-3, "cache": "there"}}


def test_an_existing_file_is_not_overwritten_unasked(tmp_path: Path) -> None:
    path = write(tmp_path, "# mine\n")
    with pytest.raises(ValueError, match=r"msa\.toml already exists"):
        write_config(path, data=".", image="a", text="b")
    assert path.read_text(encoding="utf-8") == "# mine\n"
    write_config(path, data=".", image="a", text="b", overwrite=True)
    assert tomllib.loads(path.read_text(encoding="utf-8")) == {"data": ".", "image": "a", "text": "b"}
