"""Configuration: `msa.toml` gives defaults to the options that the commands declare; flags win."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import typer

from ...features.messages import near_or_all
from ...features.store.json_files import read_toml
from ..config.config_template import FILE, dashed, spellings, to_toml

ONE_OFF = {  # the input of one call, which no file gives
    "check": {"all", "as-table"},
    "extract": {"shard", "dry-run", "recipe"},
    "train-head": {"recipe", "from"},
    "ablate": {"recipe"},
    "finetune": {"image", "text"},
    "evaluate": {"missing", "seed"},
    "table": {"against", "to", "out", "grid"},
    "compare": {"against", "to", "out"},
    "report": {"run", "out", "figures", "markdown", "pivot"},
    "predict": {"image", "text"},
    "serve": {"token"},
    "explain": {"id", "image", "text", "out"},
    "init": {"data", "image", "text"},
    "demo": {"folder"},
    "cache verify": {"seed"},
    "cache export": {"data", "name", "to", "tokens"},
    "cache import": {"modality", "name", "pooled", "ids", "tokens", "offsets", "append"},
    "cache gc": {"data", "yes"},
}
# Options that mean another thing here than in other commands: these are read from the command's own table alone.
TUNING = (
    "lr learning-rate batch-size epochs warmup weight-decay patience balance clip weights folds layers fusion inputs "
    "hidden dropout option"
)
APART = {
    "finetune": {*TUNING.split()},
    "sweep": {"folds", "inner"},
    "predict": {"name"},
    "table": {"metric"},
    "compare": {"metric"},
    "report": {"metric"},
}


def command_options(ctx: typer.Context) -> dict[str, dict[str, Any]]:
    """The options of every command of the app: command, of a group as `cache ls` -> spelling or alias -> parameter."""
    return {
        name: {
            spelling: parameter
            for parameter in command.params
            for spelling in spellings(parameter)
            if spellings(parameter)[0] not in ONE_OFF.get(name, ())
        }
        for name, command in _commands(ctx.find_root().command)
    }


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def apply_config(ctx: typer.Context, path: Path | None = None) -> None:
    """Make the configuration file the default map of `ctx`; call this from the app's callback.

    `path` None means `msa.toml` of the working folder, if there is one. Values for the command about to run are
    converted here, so that a wrong one is blamed on its line in the file; relative paths count from the file's
    folder. Raises ValueError, one line, for a missing or malformed file, an unknown key, or a wrong value.
    """
    if path is None:
        path = Path(FILE)
        if not path.is_file():
            return
    commands = command_options(ctx)
    ctx.default_map = {}
    for command, values in read_default_map(path, commands).items():
        *groups, name = command.split()
        place: dict[str, Any] = ctx.default_map
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = {
            commands[command][spelling].name: value
            if command.split()[0] != ctx.invoked_subcommand
            else convert_option(ctx, path, commands[command][spelling], value)
            for spelling, value in values.items()
        }


def read_default_map(path: Path, commands: Mapping[str, Collection[str]]) -> dict[str, dict[str, Any]]:
    """Read a configuration file into command -> option -> value, for the options (spelled with dashes) of each command.

    Top-level keys count for every command with that option; a table `[train-head]` for that command alone, and
    first; options in APART only so. Dashes, underscores and the space in `cache ls` are alike. Raises ValueError for
    anything in the file that no command knows.
    """
    remedy = "write one `key = value` a line, texts quoted; `msa init` writes an example"
    content = read_toml(path, "a configuration file in TOML", remedy)
    tables = {dashed(name): name for name in commands}
    anywhere = {option for known in commands.values() for option in known}
    default_map: dict[str, dict[str, Any]] = {name: {} for name in commands}
    for key, value in sorted(content.items(), key=lambda pair: isinstance(pair[1], dict)):  # tables last: they win
        spelling = dashed(key)
        if not isinstance(value, dict):
            if spelling not in anywhere:
                raise ValueError(_unknown(path, "option", key, anywhere))
            for name, known in commands.items():
                if spelling in known and spelling not in APART.get(name, ()):
                    default_map[name][spelling] = value
        elif spelling not in tables:
            raise ValueError(_unknown(path, "command", f"[{key}]", [f"[{table}]" for table in tables]))
        else:
            name = tables[spelling]
            for option, given in value.items():
                if dashed(option) not in commands[name]:
                    raise ValueError(_unknown(path, f"option of [{key}]", option, commands[name]))
                default_map[name][dashed(option)] = given
    return default_map


def convert_option(ctx: typer.Context, path: Path, parameter: Any, value: Any) -> Any:
    """A value that a file gives to an option, as the command would take it; ValueError naming file and option."""
    if isinstance(value, bool) and not getattr(parameter, "is_flag", False):
        raise ValueError(f"{path}: {spellings(parameter)[0]} = {to_toml(value)}: only a switch is true or false")
    if (parameter.multiple or parameter.nargs != 1) and not isinstance(value, list):
        value = [value]  # `image = "vgg16"` is what people write for an option that may be repeated
    try:
        with chdir(path.parent):  # a parameter may ask that its path exists
            converted = parameter.process_value(ctx, value)
    except Exception as error:
        reason = getattr(error, "message", None)  # click's errors carry one; anything else is ours
        if reason is None:
            raise
        reason = reason.removeprefix("Value error, ").rstrip(".")
        choices = re.findall(r"'([^']*)'", reason.partition(" is not one of ")[2])
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"see `msa {ctx.invoked_subcommand} --help`"
        raise ValueError(f"{path}: {spellings(parameter)[0]} = {to_toml(value)}: {reason}; {hint}") from error
    if isinstance(converted, (list, tuple)):
        return [_beside(path, item) for item in converted]
    return _beside(path, converted)


def _beside(path: Path, value: Any) -> Any:
    return path.parent / value.expanduser() if isinstance(value, Path) else value


def _unknown(path: Path, what: str, name: str, known: Collection[str]) -> str:
    return f"{path}: unknown {what} {name!r}{near_or_all(name, known)}"
