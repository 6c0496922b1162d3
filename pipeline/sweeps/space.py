"""The search space: the ranges and choices of a sweep, and how a point of it becomes settings."""

from __future__ import annotations

import itertools
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from ...features.messages import near_or_all
from ...heads.registry import HEADS, head_info
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..config.values import read_grid, read_number

Value = int | float | str | bool
Point = Mapping[str, Value]
ENCODERS = ("image", "text")  # side by side encoders of one modality are joined by `+`
HEAD = tuple(field.name for field in fields(HeadConfig) if field.name != "options")
TRAINING = tuple(field.name for field in fields(TrainConfig))
LOG_FROM = 10  # a range that is this many times as high as low is searched by its logarithm
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included: whole ones where `whole`, evenly in their logarithm where `log`."""

    low: float
    high: float
    whole: bool

    @property
    def log(self) -> bool:
        """Whether the range spans a power of ten or more, so that its logarithm is what matters."""
        return self.low > 0 and self.high / self.low >= LOG_FROM

    def at(self, share: float) -> int | float:
        """The number at this share (0 to below 1) of the way from low to high."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        value = math.exp(math.log(low) + share * math.log(high / low)) if self.log else low + share * (high - low)
        return min(int(self.high), max(int(self.low), round(value))) if self.whole else value


@dataclass(frozen=True)
class Space:
    """What each name may be: a Range, or a tuple of choices. Names are settings, head options, `image` and `text`.

    An option that only some heads have is varied for these alone.
    """

    names: Mapping[str, Range | tuple[Value, ...]]

    def applies(self, name: str, fusion: str) -> bool:
        """Whether a head has this setting."""
        return name in (*ENCODERS, *HEAD, *TRAINING) or name in options_of(fusion)

    def names_for(self, fusion: str) -> list[str]:
        """What is varied for this head, beside the fusion itself."""
        return [name for name in self.names if name != "fusion" and self.applies(name, fusion)]

    def fusions(self, default: str) -> tuple[str, ...]:
        """The heads that are tried."""
        return tuple(map(str, self.names.get("fusion", (default,))))  # type: ignore[arg-type]

    def grid(self, default: str) -> list[dict[str, Value]]:
        """Every point, in order. Raises ValueError where a name has a range."""
        for name, side in self.names.items():
            if isinstance(side, Range):
                raise ValueError(
                    f"a grid wants choices, as --set {name}={side.low:g},{side.high:g}; "
                    f"got the range {side.low:g}..{side.high:g}; or use --sampler random"
                )
        return list(self._points(default))

    def _points(self, default: str) -> Iterator[dict[str, Value]]:
        for fusion in self.fusions(default):
            choices = {name: side for name in self.names_for(fusion) if isinstance(side := self.names[name], tuple)}
            for values in itertools.product(*choices.values()):
                yield {"fusion": fusion, **dict(zip(choices, values, strict=True))}

    def to_dict(self) -> dict[str, Any]:
        """For JSON: choices as lists, ranges as `low..high`."""
        return {
            name: f"{side.low:g}..{side.high:g}" if isinstance(side, Range) else list(side)
            for name, side in self.names.items()
        }


def read_space(
    settings: Sequence[str], *, fusion: str = "", image: Sequence[str] = (), text: Sequence[str] = (), file: Path | None
) -> Space:
    """The space of `--set NAME=…` texts, `--fusion a,b` or `all`, encoders `a,b` and a TOML file of the same.

    Flags win over the file. Raises ValueError for unknown names, values of the wrong kind, empty or reversed ranges.
    """
    texts: dict[str, Any] = dict(_read_file(file)) if file else {}
    for setting in settings:
        name, by, value = setting.partition("=")
        if not by or not value.strip():
            raise ValueError(f"--set wants NAME=LOW..HIGH or NAME=A,B,…; got {setting!r}")
        texts[name.strip().replace("-", "_")] = value
    if fusion:
        texts["fusion"] = fusion
    if texts.get("fusion") == "all":
        texts["fusion"] = list(HEADS)
    for modality, given in (("image", image), ("text", text)):
        if given:
            texts[modality] = [name for one in given for name in one.split(",")]
    names = {name: _side(name, value) for name, value in texts.items()}
    fusions = names.get("fusion", tuple(HEADS))
    assert isinstance(fusions, tuple)
    options = {option for one in fusions for option in options_of(str(one))}
    known = {*ENCODERS, *HEAD, *TRAINING, *options}
    for name, side in names.items():
        if name not in known:
            raise ValueError(f"unknown setting {name!r} in the search space{near_or_all(name, known)}")
        _check(name, side)
    return Space(names)


def apply_point(point: Point, head: HeadConfig, training: TrainConfig) -> tuple[HeadConfig, TrainConfig]:
    """The settings with those of a point in their place. Raises ValueError where they do not go together."""
    own = {name: value for name, value in point.items() if name not in (*ENCODERS, *HEAD, *TRAINING)}
    given: dict[str, Any] = {name: value for name, value in point.items() if name in HEAD}
    if "token_width" in given:
        given["token_width"] = given["token_width"] or None
    if "patches" in given:
        given["patches"] = read_grid(str(given["patches"]))
    taken = options_of(str(given.get("fusion", head.fusion)))
    kept = {name: value for name, value in head.options.items() if name in taken}
    changed: dict[str, Any] = {name: value for name, value in point.items() if name in TRAINING}
    return replace(head, **given, options=kept | own), replace(training, **changed)


def options_of(fusion: str) -> set[str]:
    """The options of a head of its own, or of the heads of an ensemble as `a+b`; ValueError for an unknown one."""
    return {option for one in fusion.split("+") for option in head_info(one).options}


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(
            f'{path}: a search space is a TOML file of lines as lr = "1e-4..3e-3" or hidden = [64, 128]; {error}'
        ) from error
    for name, value in content.items():
        if isinstance(value, dict):
            raise ValueError(f"{path}: [{name}] is a table; a search space has lines alone, as hidden = [64, 128]")
    return {name.replace("-", "_"): value for name, value in content.items()}


def _side(name: str, value: Any) -> Range | tuple[Value, ...]:
    """`1..9` as a Range; `a,b`, a list, or one value as choices."""
    if isinstance(value, list):
        choices = [_value(name, one) if isinstance(one, str) else one for one in value]
    elif isinstance(value, str):
        if found := re.fullmatch(rf"\s*({NUMBER})\s*\.\.\s*({NUMBER})\s*", value):
            return _range(name, *found.groups())
        choices = [_value(name, part.strip()) for part in value.split(",")]
    else:
        choices = [value]
    if not choices or "" in choices or len(set(map(repr, choices))) != len(choices):
        raise ValueError(f"choices of {name} must be there and differ; got {value!r}")
    return tuple(choices)


def _range(name: str, low: str, high: str) -> Range:
    whole = all(re.fullmatch(r"[-+]?\d+", end) for end in (low, high))
    if not float(low) < float(high):
        raise ValueError(f"the range of {name} must rise, as 1..9; got {low}..{high}")
    return Range(float(low), float(high), whole)


def _value(name: str, text: str) -> Value:
    if name in ("fusion", *ENCODERS):
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return read_number(text)


def _check(name: str, side: Range | tuple[Value, ...]) -> None:
    """Refuse values that a setting cannot have: by the type of its field, then by the checks of the settings."""
    if name in ENCODERS or name not in (*HEAD, *TRAINING):
        if isinstance(side, Range) and name in ENCODERS:
            raise ValueError(f"{name} wants names of encoders; got {side.low:g}..{side.high:g}")
        return
    hint = get_type_hints(HeadConfig if name in HEAD else TrainConfig)[name]
    whole, number = hint is int or name == "token_width", hint is float
    if isinstance(side, Range):
        if not (number or (whole and side.whole)):
            kind = "numbers" if whole else "whole numbers"
            raise ValueError(f"{name} has no range of {kind}; give choices, as {name}=A,B")
        values: tuple[Value, ...] = (int(side.low), int(side.high)) if side.whole else (side.low, side.high)
    else:
        values = side
    for value in values:
        if (whole or number) and (isinstance(value, str | bool) or (whole and isinstance(value, float))):
            raise ValueError(f"{name} must be a {'whole number' if whole else 'number'}; got {value!r}")
        if name not in ("average_views", "min_lr", "fusion"):  # these depend on another setting
            apply_point({name: value}, HeadConfig(), TrainConfig())
