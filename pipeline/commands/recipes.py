"""Recipes: the published systems as files of options, `recipes/NAME.toml`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from ...features.messages import near_or_all
from ...features.store.json_files import malformed, read_toml
from .config_file import command_options, convert_option

FOLDER = Path(__file__).parent.parent.parent / "recipes"
COMMANDS = ("extract", "train-head", "ablate")  # that a recipe gives options to


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

    An option that this command lacks but another one of COMMANDS has is that command's matter. Raises ValueError
    for one that none has.
    """
    if not name or ctx.resilient_parsing:
        return name
    recipe, commands = read_recipe(name), command_options(ctx)
    own = commands[str(ctx.command.name)]
    anywhere = {option for command in COMMANDS for option in commands[command]}
    defaults = dict(ctx.default_map or {})
    for option, value in recipe.options.items():
        spelling = option.replace("_", "-")
        if spelling not in anywhere:
            raise ValueError(f"recipe {name!r}: unknown option {option!r}{near_or_all(spelling, anywhere)}")
        if spelling in own:
            defaults[own[spelling].name] = convert_option(ctx, Path(f"{name}.toml"), own[spelling], value)
    ctx.default_map = defaults
    return name
