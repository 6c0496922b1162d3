"""Options are generated from the dataclasses of settings; all commands take the same names for the same things."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from msa.cli import app, run_command
from msa.features.extraction.settings import ExtractSettings
from msa.pipeline.commands.declare import PANELS, command_line, generate_options, option_values
from msa.pipeline.commands.options import InputPosts
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.search_config import Search
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.config.tune_config import TuneConfig


def commands(group: Any, before: str = "") -> dict[str, Any]:
    """Every command by its whole name."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        inner = hasattr(command, "commands")
        found |= commands(command, f"{before}{name} ") if inner else {before + name: command}
    return found


COMMANDS = commands(typer.main.get_command(app))


def flags(name: str) -> set[str]:
    return {flag for parameter in COMMANDS[name].params for flag in parameter.opts}


@pytest.mark.parametrize("kind", [HeadConfig, TrainConfig, TuneConfig, DataConfig, Search, ExtractSettings])
def test_an_option_gives_its_field_and_a_field_its_option(kind: Any) -> None:
    settings = kind()
    values = option_values(settings)
    generated = generate_options(kind)
    assert {one.field: one.form.read(values[one.parameter.name]) for one in generated} == {
        one.field: getattr(settings, one.field) for one in generated
    }
    assert {one.field for one in generated} == {
        one.name for one in fields(kind) if "setting" in one.metadata and one.metadata["setting"].help
    }


def test_values_of_another_form_are_written_as_options() -> None:
    head = HeadConfig("coattention", patches=None, token_width=None, options={"layers": 2, "positions": "sinusoidal"})
    values = option_values(head)
    assert (values["patches"], values["token_width"]) == ("none", 0)
    assert values["option"] == ["layers=2", "positions=sinusoidal"]
    assert option_values(DataConfig(folds=None, image=("a", "b")))["image"] == ["a", "b"]


def test_what_writes_runs_takes_the_same_names() -> None:
    writing = ("train-head", "ablate", "sweep", "compare", "learning-curve")
    for name in writing:
        assert {"--runs", "--name", "--cache", "--seed", "--limit", "--folds", "--json", "data"} <= flags(name), name
        assert {"--optimizer", "--optimiser", "--lr", "--learning-rate", "--batch-size", "--ensemble"} <= flags(name)
    for name in ("evaluate", "test", "predict"):
        assert {"run", "data", "--runs", "--cache", "--limit", "--device"} <= flags(name), name
        assert [parameter.name for parameter in COMMANDS[name].params[:2]] == ["run", "data"]
    reading = [name for name, command in COMMANDS.items() if any(p.name == "layout" for p in command.params)]
    assert {name for name in reading if "--limit" not in flags(name)} == {"cache import", "cache gc", "explain"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help_and_a_panel_and_every_command_an_example(name: str) -> None:
    command = COMMANDS[name]
    assert f"Example: [bold]msa {name}" in command.epilog
    summary = command.help.splitlines()[0]
    assert summary.endswith(".")
    assert len(summary) <= 58, "the summary is one line of `msa --help` at 80 columns"
    options = [parameter for parameter in command.params if parameter.opts[0].startswith("--")]
    assert [option.name for option in options if not option.help] == []
    assert {option.rich_help_panel for option in options} <= {None, *PANELS}
    assert len([option for option in options if option.rich_help_panel is None]) <= 15


@pytest.mark.parametrize("width", ["80"])
def test_nothing_is_cut_off_in_the_help(
    width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    for name in ("", *COMMANDS):
        assert run_command([*name.split(), "-h"]) == 0
        shown = capsys.readouterr().out.replace("NAME=A,B,…", "")
        assert "…" not in shown, name
        assert "Usage: msa" in shown


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out.startswith("msa ")


def test_the_shell_completes_commands() -> None:
    environment = {"_MSA_COMPLETE": "complete_bash", "COMP_WORDS": "msa tr", "COMP_CWORD": "1", "PATH": ""}
    command = [sys.executable, "-c", "from msa.cli import main; main()"]
    found = subprocess.run(command, env=environment | _paths(), capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["train-head"]


def _paths() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(path for path in sys.path if path)}


def test_settings_are_written_as_the_command_line_that_gives_them() -> None:
    assert command_line(InputPosts(data=Path("posts"))) == ["posts"]
    given = InputPosts("course", column=("text=a b", "label=c"), limit=7, data=Path("my #1"))
    words = ["my #1", "--layout", "course", "--column", "text=a b", "--column", "label=c", "--limit", "7"]
    assert command_line(given) == words
    assert command_line(HeadConfig(average_views=True, views=2, patches=None)) == [
        *("--patches", "none", "--views", "2", "--average-views")
    ]
