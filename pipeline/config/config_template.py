"""The configuration file that `msa init` writes: every option of every command as a comment, with its default."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = "msa.toml"


Commands = Mapping[str, Mapping[str, Any]]  # command -> spelling or alias -> click's parameter


def spellings(parameter: Any) -> list[str]:
    """How a parameter of click is written in a configuration file, the main spelling first."""
    flags = [dashed(flag.removeprefix("--")) for flag in parameter.opts if flag.startswith("--")]
    return flags or [dashed(parameter.name)]


def write_config(
    path: Path, *, data: str | Path, image: str, text: str, commands: Commands | None = None, overwrite: bool = False
) -> None:
    """Write a file with these values and all other options as comments; ValueError if it exists, unless `overwrite`."""
    if path.exists() and not overwrite:
        raise ValueError(f"{path} already exists; edit it, or delete it first to get a fresh one")
    path.write_text("\n".join(_template(data, image, text, commands or {})) + "\n", encoding="utf-8")


def _template(data: str | Path, image: str, text: str, commands: Commands) -> Iterator[str]:
    given = {"data": str(data), "image": image, "text": text}
    yield "# Defaults for the options of msa; flags win. Relative paths count from this file's folder."
    yield "# Keys up here count for every command that has the option, a table for its command alone.\n"
    yield from (f"{key} = {to_toml(value)}" for key, value in given.items())
    lines = {
        name: {key: _comment(option) for key, option in known.items() if key not in given}
        for name, known in commands.items()
    }
    everywhere: dict[str, list[str]] = defaultdict(list)  # key -> its line in each command
    for known in lines.values():
        for key, line in known.items():
            everywhere[key].append(line)
    shared = {key: alike[0] for key, alike in everywhere.items() if len(alike) > 1 and len(set(alike)) == 1}
    yield from dict.fromkeys(shared.values())
    for name, known in lines.items():
        if own := dict.fromkeys(line for key, line in known.items() if key not in shared):
            yield f"\n[{dashed(name)}]"
            yield from own


def _comment(parameter: Any) -> str:
    default = None if callable(parameter.default) else parameter.default
    value = "(unset)" if default is None else f"= {to_toml(default)}"
    summary = " ".join((getattr(parameter, "help", None) or "").split())
    return f"# {spellings(parameter)[0]} {value}  # {summary}".removesuffix("  # ")


def to_toml(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(to_toml, value))}]"
    value = getattr(value, "value", value)  # an Enum's
    text = json.dumps(value if isinstance(value, (bool, int, float)) else str(value), ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")  # which JSON holds as it is, but TOML does not


def dashed(name: str) -> str:
    """A name as keys are compared: dashes, underscores and spaces are alike."""
    return name.replace("_", "-").replace(" ", "-")
