"""Presets: options that were measured to go well together, as files `recipes/presets/NAME.toml`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from ...features.messages import near_or_all
from ...features.store.json_files import read_toml

Preset = Literal["fast", "good", "best"]
ENCODERS = "image", "text"
FOLDER = Path(__file__).parent.parent.parent / "recipes" / "presets"


def read_preset(name: str) -> dict[str, Any]:
    """The options of a preset, by their spelling without dashes in front. Raises ValueError for an unknown name."""
    known = get_args(Preset)
    if name not in known:
        raise ValueError(f"unknown preset {name!r}{near_or_all(name, known)}")
    return read_toml(FOLDER / f"{name}.toml", "a preset", "install msa again")


def check_fusion(preset: str | None, fusion: str) -> None:
    """Raise ValueError where another head would get the settings that a preset has for its own."""
    options = read_preset(preset) if preset else {}
    own = options.get("fusion", fusion)
    if fusion != own and options.keys() > {*ENCODERS, "fusion"}:
        encoders = as_options({name: options[name] for name in ENCODERS})
        raise ValueError(
            f"the settings of preset {preset} are for its head {own}; for {fusion} give `{encoders}` instead"
        )


def as_options(options: Mapping[str, Any]) -> str:
    """Options as they would be typed."""
    return shlex.join(_words(options))


def _words(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            yield from [f"--{name}"] if one is True else (f"--{name}", str(one))
