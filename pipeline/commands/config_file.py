"""Configuration: `msa.toml` gives defaults to the options that the commands declare; flags win."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from ...features.near_names import near_or_all

FILE = "msa.toml"
ONE_OFF = {  # the input of one call, which no file gives
    "extract": {"shard", "dry-run", "recipe"},
    "train-head": {"recipe", "from"},
    "ablate": {"recipe"},
    "finetune": {"image", "text"},
    "evaluate": {"missing", "seed"},
    "predict": {"image", "text"},
    "init": {"data", "image", "text"},
    "demo": {"folder"},
    "cache verify": {"seed"},
    "cache export": {"data", "name", "to", "tokens"},
    "cache import": {"modality", "name", "pooled", "ids", "tokens", "offsets", "append"},
    "cache gc": {"data", "yes"},
}
# Options that mean another thing here than in other commands: these are read from the command's own table alone.
TUNING = "lr learning-rate batch-size epochs warmup weight-decay patience balance clip weights folds"
APART = {"finetune": {*TUNING.split()}, "sweep": {"folds", "inner"}, "predict": {"name"}}


@dataclass(frozen=True, eq=False)
class CommandOption:
    """One option or argument of one command; `parameter` is click's own object, which converts values."""

    name: str  # the key of click's default map
    spelling: str  # the main spelling in the file
    aliases: tuple[str, ...]  # other spellings
    default: Any
    help: str
    parameter: Any


Commands = Mapping[str, Mapping[str, CommandOption]]


def command_options(ctx: typer.Context) -> dict[str, dict[str, CommandOption]]:
    """The options of every command of the app that `ctx` belongs to: command -> spelling or alias -> option.

    The command of a group has both names, as `cache ls`.
    """
    return {
        name: {
            spelling: option
            for option in map(_option, command.params)
            for spelling in (option.spelling, *option.aliases)
            if option.spelling not in ONE_OFF.get(name, ())
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
    default_map = read_default_map(path, {name: list(known) for name, known in commands.items()})
    ctx.default_map = {}
    for command, values in default_map.items():
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
    """Read a configuration file into command -> option -> value, for the options that each command has.

    Top-level keys count for every command with that option; a table `[train-head]` for that command alone, and
    first; options in APART only so. Dashes, underscores and the space in `cache ls` are alike. Raises ValueError for
    anything in the file that no command knows.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: a readable UTF-8 file is wanted ({error}); `msa init` writes one") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}; quote text, one `key = value` a line") from error

    tables = {_dashed(name): name for name in commands}
    options = {name: {_dashed(option): option for option in known} for name, known in commands.items()}
    shared = {key: value for key, value in content.items() if not isinstance(value, dict)}
    anywhere = {option for known in options.values() for option in known}
    for key in shared:
        if _dashed(key) not in anywhere:
            raise ValueError(_unknown(path, "option", key, anywhere))

    default_map: dict[str, dict[str, Any]] = {
        name: {
            known[_dashed(key)]: value
            for key, value in shared.items()
            if _dashed(key) in known and _dashed(key) not in APART.get(name, ())
        }
        for name, known in options.items()
    }
    for table, values in content.items():
        if not isinstance(values, dict):
            continue
        if _dashed(table) not in tables:
            raise ValueError(_unknown(path, "command", f"[{table}]", [f"[{table}]" for table in tables]))
        name = tables[_dashed(table)]
        for key, value in values.items():
            if _dashed(key) not in options[name]:
                raise ValueError(_unknown(path, f"option of [{table}]", key, options[name]))
            default_map[name][options[name][_dashed(key)]] = value
    return default_map


def write_config(
    path: Path,
    *,
    data: str | Path,
    image: str,
    text: str,
    commands: Commands | None = None,
    overwrite: bool = False,
) -> None:
    """Write a configuration with these three values and every other option of `commands` as a comment.

    Raises ValueError when the file exists, unless `overwrite`.
    """
    if path.exists() and not overwrite:
        raise ValueError(f"{path} already exists; edit it, or delete it first to get a fresh one")
    path.write_text("\n".join(_template(data, image, text, commands or {})) + "\n", encoding="utf-8")


def _template(data: str | Path, image: str, text: str, commands: Commands) -> Iterator[str]:
    given = {"data": str(data), "image": image, "text": text}
    yield "# Defaults for the options of msa; flags win. Relative paths count from this file's folder."
    yield "# Keys up here count for every command that has the option, a table for its command alone.\n"
    yield from (f"{key} = {_toml(value)}" for key, value in given.items())
    shared: dict[str, CommandOption] = {}
    for known in commands.values():
        for key, option in known.items():
            everywhere = [other[key] for other in commands.values() if key in other]
            alike = all((one.default, one.help) == (option.default, option.help) for one in everywhere)
            if key not in given and len(everywhere) > 1 and alike:
                shared[key] = option
    yield from map(_comment, dict.fromkeys(shared.values()))
    for name, known in commands.items():
        own = [option for key, option in known.items() if key not in given and key not in shared]
        if own:
            yield f"\n[{_dashed(name)}]"
            yield from map(_comment, dict.fromkeys(own))


def _comment(option: CommandOption) -> str:
    value = "(unset)" if option.default is None else f"= {_toml(option.default)}"
    return f"# {option.spelling} {value}  # {option.help}".removesuffix("  # ")


def _toml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    value = getattr(value, "value", value)  # an Enum's
    return json.dumps(value if isinstance(value, (bool, int, float)) else str(value), ensure_ascii=False)


def _option(parameter: Any) -> CommandOption:
    flags = [_dashed(flag.removeprefix("--")) for flag in parameter.opts if flag.startswith("--")]
    spelling, *aliases = flags or [_dashed(parameter.name)]
    default = None if callable(parameter.default) else parameter.default
    summary = " ".join((getattr(parameter, "help", None) or "").split())
    return CommandOption(parameter.name, spelling, tuple(aliases), default, summary, parameter)


def convert_option(ctx: typer.Context, path: Path, option: CommandOption, value: Any) -> Any:
    """A value that a file gives to an option, as the command would take it; ValueError naming file and option."""
    parameter = option.parameter
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
        raise ValueError(f"{path}: {option.spelling} = {_toml(value)}: {reason}; {hint}") from error
    if isinstance(converted, (list, tuple)):
        return [_beside(path, item) for item in converted]
    return _beside(path, converted)


def _beside(path: Path, value: Any) -> Any:
    return path.parent / value.expanduser() if isinstance(value, Path) else value


def _dashed(name: str) -> str:
    return name.replace("_", "-").replace(" ", "-")


def _unknown(path: Path, what: str, name: str, known: Collection[str]) -> str:
    return f"{path}: unknown {what} {name!r}{near_or_all(name, known)}"
