"""The search space: the ranges and choices of a sweep, and how a point of it becomes settings."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from ...features.messages import near_or_all
from ...features.spec import Modality
from ...features.store.json_files import read_toml
from ...heads.base import Dims
from ...heads.registry import GROUPS, HEADS, build_head, check_option, fusion_names, head_info
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..config.used_settings import used_settings
from ..config.values import read_grid, read_value

Value = int | float | str | bool
Point = Mapping[str, Value]
ENCODERS: tuple[Modality, ...] = ("image", "text")  # side by side encoders of one modality are joined by `+`
HEAD = tuple(field.name for field in fields(HeadConfig) if field.name != "options")
TRAINING = frozenset(field.name for field in fields(TrainConfig))
LOG_FROM = 10  # a range that is this many times as high as low is searched by its logarithm
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included: whole ones where `whole`, evenly in their logarithm where `log`."""

    low: float
    high: float
    whole: bool

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"

    @property
    def log(self) -> bool:
        """Whether the range spans a power of ten or more, so that its logarithm is what matters."""
        return self.low > 0 and self.high / self.low >= LOG_FROM

    def at(self, share: float) -> int | float:
        """The number at this share (0 to below 1) of the way from low to high."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        value = math.exp(math.log(low) + share * math.log(high / low)) if self.log else low + share * (high - low)
        return min(int(self.high), max(int(self.low), round(value))) if self.whole else value


Values = Range | tuple[Value, ...]


@dataclass(frozen=True)
class Space:
    """The values that each name may have. Names are settings, head options, `image` and `text`.

    An option that only some heads have is varied for these alone.
    """

    names: Mapping[str, Values]

    def names_for(self, fusion: str) -> list[str]:
        """What is varied for this head, beside the fusion itself."""
        own = settings_of(fusion) - {"fusion"}
        return [name for name in self.names if name in own]

    def fusions(self, default: str) -> tuple[str, ...]:
        """The heads that are tried."""
        return tuple(map(str, self.names.get("fusion", (default,))))  # type: ignore[arg-type]

    def size(self, default: str) -> int | None:
        """The number of points; None where a name has a range."""
        if any(isinstance(values, Range) for values in self.names.values()):
            return None
        counts = {name: len(values) for name, values in self.names.items() if isinstance(values, tuple)}
        return sum(math.prod(counts[name] for name in self.names_for(one)) for one in self.fusions(default))

    def grid(self, default: str) -> list[dict[str, Value]]:
        """Every point, in order. Raises ValueError where a name has a range."""
        choices: dict[str, tuple[Value, ...]] = {}
        for name, values in self.names.items():
            if isinstance(values, Range):
                raise ValueError(
                    f"a grid wants choices, as --set {name}={values.low:g},{values.high:g}; "
                    f"got the range {values}; or use --sampler random"
                )
            choices[name] = values
        points: list[dict[str, Value]] = []
        for fusion in self.fusions(default):
            names = self.names_for(fusion)
            for values in itertools.product(*(choices[name] for name in names)):
                points.append({"fusion": fusion, **dict(zip(names, values, strict=True))})
        return points

    def to_dict(self) -> dict[str, Any]:
        """For JSON: choices as lists, ranges as `low..high`."""
        return {name: str(of) if isinstance(of, Range) else list(of) for name, of in self.names.items()}


def read_space(
    settings: Sequence[str],
    *,
    fusion: str = "",
    image: Sequence[str] = (),
    text: Sequence[str] = (),
    file: Path | None,
) -> Space:
    """The space of `--set NAME=…` texts, `--fusion a,b` or a group, encoders `a,b` and a TOML file of the same.

    Flags win over the file; a single head is not varied. Raises ValueError for unknown names, values of the wrong kind,
    empty or reversed ranges.
    """
    texts: dict[str, Any] = dict(_read_file(file)) if file else {}
    for setting in settings:
        name, by, value = setting.partition("=")
        if not by or not value.strip():
            raise ValueError(f"--set wants NAME=LOW..HIGH or NAME=A,B,…; got {setting!r}")
        texts[name.strip().replace("-", "_")] = value
    given = read_fusions(fusion) if fusion else []
    if len(given) > 1:
        texts["fusion"] = given
    elif "fusion" in texts:
        texts["fusion"] = read_fusions(texts["fusion"])
    for modality, choices in (("image", image), ("text", text)):
        if choices:
            texts[modality] = [name for one in choices for name in one.split(",")]
    names = {name: _read_values(name, value) for name, value in texts.items()}
    fusions = texts.get("fusion", given or list(HEADS))
    known = set[str]().union(*map(settings_of, fusions))
    for name, values in names.items():
        if name not in known:
            raise ValueError(f"unknown setting {name!r} in the search space{near_or_all(name, known)}")
        if name in (*HEAD, *TRAINING):
            _check_setting(name, values)
        elif name in ENCODERS and isinstance(values, Range):
            raise ValueError(f"{name} wants names of encoders; got {values}")
        elif name not in ENCODERS:
            _check_option(name, values, fusions)
    return Space(names)


def stored_space(stored: Mapping[str, Any]) -> Space:
    """The space that `Space.to_dict` describes."""
    return Space({name: _read_values(name, values) for name, values in stored.items()})


def read_fusions(given: str | Sequence[str]) -> list[str]:
    """The heads that `gated,concat`, or a list of such texts, names. `all` and its like stand for several."""
    names = [str(one) for one in given] if isinstance(given, list | tuple) else str(given).split(",")
    return [one for name in map(str.strip, names) for one in (fusion_names(name) if name in GROUPS else [name])]


def apply_point(point: Point, head: HeadConfig, training: TrainConfig) -> tuple[HeadConfig, TrainConfig]:
    """The settings with those of a point in their place; a name that the head has, too, is the head's (`gamma`).

    Raises ValueError where they do not go together.
    """
    given: dict[str, Any] = {name: value for name, value in point.items() if name in HEAD}
    if "token_width" in given:
        given["token_width"] = given["token_width"] or None
    if "patches" in given:
        given["patches"] = read_grid(str(given["patches"]))
    taken = options_of(str(given.get("fusion", head.fusion)))
    others = (*ENCODERS, *HEAD, *(TRAINING - taken))
    own = {name: value for name, value in point.items() if name not in others}
    kept = {name: value for name, value in head.options.items() if name in taken}
    changed: dict[str, Any] = {name: value for name, value in point.items() if name in TRAINING - taken}
    return replace(head, **given, options=kept | own), replace(training, **changed)


def encoders_of(point: Point, data_config: DataConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The image and text encoders of a point, by name; those of `data_config` where the point does not vary them."""
    image, text = (str(point[name]).split("+") if name in point else None for name in ENCODERS)
    return tuple(image or data_config.image), tuple(text or data_config.text)


def options_of(fusion: str) -> set[str]:
    """The options of a head of its own, or of the heads of an ensemble as `a+b`; ValueError for an unknown one."""
    return {option for one in fusion.split("+") for option in head_info(one).options}


def settings_of(fusion: str) -> set[str]:
    """Every name that may be varied for a head, or an ensemble `a+b`; ValueError for an unknown one."""
    return {*ENCODERS, *(used_settings(fusion) - {"options"}), *options_of(fusion)}


def _read_file(path: Path) -> dict[str, Any]:
    content = read_toml(path, "a search space", 'write TOML lines as lr = "1e-4..3e-3" or hidden = [64, 128]')
    for name, value in content.items():
        if isinstance(value, dict):
            raise ValueError(f"{path}: [{name}] is a table; a search space has lines alone, as hidden = [64, 128]")
        if not all(isinstance(one, str | int | float) for one in (value if isinstance(value, list) else [value])):
            raise ValueError(f"{path}: {name} must be texts or numbers, as hidden = [64, 128]; got {value!r}")
    return {name.replace("-", "_"): value for name, value in content.items()}


def _read_values(name: str, given: Any) -> Values:
    """`1..9` as a Range; `a,b`, a list, or one value as choices."""
    if isinstance(given, str) and (found := re.fullmatch(rf"\s*({NUMBER})\s*\.\.\s*({NUMBER})\s*", given)):
        low, high = found.groups()
        if not float(low) < float(high):
            raise ValueError(f"the range of {name} must rise, as 1..9; got {low}..{high}")
        return Range(float(low), float(high), all(re.fullmatch(r"[-+]?\d+", end) for end in (low, high)))
    parts = given.split(",") if isinstance(given, str) else given if isinstance(given, list) else [given]
    plain = name in ("fusion", *ENCODERS)
    texts = [one.strip() if isinstance(one, str) else one for one in parts]
    choices = [read_value(one) if isinstance(one, str) and not plain else one for one in texts]
    if not choices or "" in choices or len(set(map(repr, choices))) != len(choices):
        raise ValueError(f"choices of {name} must be there and differ; got {given!r}")
    return tuple(choices)


def _ends(values: Values) -> tuple[Value, ...]:
    """The choices, or the two ends of a range."""
    if isinstance(values, Range):
        return (int(values.low), int(values.high)) if values.whole else (values.low, values.high)
    return values


def _check_setting(name: str, values: Values) -> None:
    """Refuse values that a setting cannot have: by the type of its field, then by the checks of the settings."""
    hint = get_type_hints(HeadConfig if name in HEAD else TrainConfig)[name]
    whole, number = hint is int or name == "token_width", hint is float
    if isinstance(values, Range) and not (number or (whole and values.whole)):
        kind = "numbers" if whole else "whole numbers"
        raise ValueError(f"{name} has no range of {kind}; give choices, as {name}=A,B")
    for value in _ends(values):
        if (whole or number) and (isinstance(value, str | bool) or (whole and isinstance(value, float))):
            raise ValueError(f"{name} must be a {'whole number' if whole else 'number'}; got {value!r}")
        if name not in ("average_views", "min_lr", "fusion"):  # these depend on another setting
            apply_point({name: value}, HeadConfig(), TrainConfig())


def _check_option(name: str, values: Values, fusions: Sequence[str]) -> None:
    """Refuse values of another type than the option's, and texts that a head does not know.

    Numbers may depend on other settings, so they are checked trial by trial.
    """
    for kind in dict.fromkeys(kind for fusion in fusions for kind in fusion.split("+")):
        for value in _ends(values) if name in head_info(kind).options else ():
            check_option(kind, name, value)
            if isinstance(value, str):
                build_head(kind, Dims(8, 8, 2), hidden=8, **{name: value})  # type: ignore[arg-type]  # an option
