"""Files of options: recipes, the published systems as `recipes/NAME.toml`, and presets."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import typer

from ...features.messages import near_or_all, notify
from ...features.store.json_files import malformed, read_toml
from ..config.presets import as_options, read_preset
from .config_file import command_options, convert_option

FOLDER = Path(__file__).parent.parent.parent / "recipes"
COMMANDS = ("extract", "train-head", "ablate")  # that a recipe or a preset gives options to
SETS = {"recipe": "--recipe", "replay": "--from", "preset": "--preset"}  # parameters that give many options at once


class Own(NamedTuple):
    """An option that a file gives to the command: as it is written, the parameter, and the value for it."""

    given: Any
    parameter: str
    value: Any


@dataclass(frozen=True)
class Recipe:
    """One system: where it is described, what was reported of it, and the options that rebuild it."""

    name: str
    system: str
    report: str
    reported: str
    options: dict[str, Any]
    note: str


def read_recipes() -> list[Recipe]:
    """The recipes that come with msa, in the order of their names."""
    return [read_recipe(path.stem) for path in sorted(FOLDER.glob("*.toml"))]


def read_recipe(name: str) -> Recipe:
    """The recipe of that name, or in that TOML file; ValueError where there is none, or it is not well-formed."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        known = [recipe.stem for recipe in FOLDER.glob("*.toml")]
        raise ValueError(f"unknown recipe {name!r}{near_or_all(name, known)}")
    what, remedy = "a recipe", "write options as `key = value`, then [about]"
    content = read_toml(path, what, remedy)
    with malformed(path, what, remedy):
        about = content.pop("about", {})
        system, report, reported, note = (str(about.get(key, "")) for key in ("system", "source", "reported", "note"))
        return Recipe(path.stem, system, report, reported, content, note)


def bibliography() -> str:
    """BibTeX of the publications that are the source of recipes; comments name the recipes, and those without one."""
    recipes = read_recipes()
    entries = {path.stem: path.read_text("utf-8").strip() for path in sorted(FOLDER.glob("*.bib"))}
    cited = [
        f"{_comment(recipe.name for recipe in recipes if recipe.report == source)}\n{entry}\n"
        for source, entry in entries.items()
    ]
    others = [recipe for recipe in recipes if recipe.report not in entries]
    lacking = (f"{recipe.name} ({recipe.report})" for recipe in others)
    return "\n".join([*cited, f"% No publication is known for the source of\n{_comment(lacking)}"])


def _comment(names: Iterable[str]) -> str:
    return textwrap.fill(", ".join(names), 100, initial_indent="% ", subsequent_indent="% ", break_on_hyphens=False)


def apply_recipe(ctx: typer.Context, name: str) -> str:
    """Make a recipe's options the defaults of the command about to run, before those of msa.toml; flags win.

    Raises ValueError for an option that none of COMMANDS has.
    """
    if name and not ctx.resilient_parsing:
        refuse_two_sets(ctx)
        own = _own_options(ctx, Path(f"{name}.toml"), f"recipe {name!r}", read_recipe(name).options)
        ctx.default_map = dict(ctx.default_map or {}) | _values(own)
    return name


def apply_preset(ctx: typer.Context, name: str | None) -> str | None:
    """Make a preset's options the defaults of the command about to run, and print them; flags win.

    Of the command line, they come before those of msa.toml; of msa.toml, after its others, and beside `--recipe` or
    `--from` not at all.
    """
    if name is None or ctx.resilient_parsing or ctx.parent is None:  # None: msa.toml is being read
        return name
    refuse_two_sets(ctx)
    own = _own_options(ctx, Path(f"{name}.toml"), f"preset {name!r}", read_preset(name))
    if others := [flag for one, flag in SETS.items() if one != "preset" and _is_typed(ctx, one)]:
        notify(f"the preset {name} of msa.toml is not used beside {others[0]}")
        return None
    notify(f"preset {name}: {as_options({option: one.given for option, one in own.items()})}")
    known, values = dict(ctx.default_map or {}), _values(own)
    ctx.default_map = known | values if _is_typed(ctx, "preset") else values | known
    return name


def refuse_two_sets(ctx: typer.Context) -> None:
    """Raise ValueError where the command line gives two sets of options, of which neither wins."""
    given = [flag for name, flag in SETS.items() if _is_typed(ctx, name)]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} are two sets of options; leave out one of them")


def _is_typed(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _own_options(ctx: typer.Context, file: Path, what: str, options: Mapping[str, Any]) -> dict[str, Own]:
    """Those options of a file that the command about to run has; the others are those of other COMMANDS."""
    commands = command_options(ctx)
    known = commands[str(ctx.command.name)]
    anywhere = {option for command in COMMANDS for option in commands[command]}
    own = {}
    for option, given in options.items():
        spelling = option.replace("_", "-")
        if spelling not in anywhere:
            raise ValueError(f"{what}: unknown option {option!r}{near_or_all(spelling, anywhere)}")
        if spelling in known:
            parameter = known[spelling]
            own[spelling] = Own(given, parameter.name, convert_option(ctx, file, parameter, given))
    return own


def _values(own: Mapping[str, Own]) -> dict[str, Any]:
    return {one.parameter: one.value for one in own.values()}
