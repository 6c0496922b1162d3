"""Settings: dataclass fields that carry help, range and flags, from which checks and options are generated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

WIDEST = 2**63


@dataclass(frozen=True)
class Setting:
    """What is known of a setting beside its name, type and default.

    `minimum` and `maximum` belong to the range, `above` and `below` do not. `zero` is what 0 means; help and error add
    it. `flags` are the spellings on the command line, the main one first; empty: the field's name. A setting without
    help is checked, but is no option. `choices` are read when a value is checked, so that a heavy module can give them.
    """

    help: str
    flags: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    zero: str = ""
    unit: str = ""
    choices: Callable[[], Sequence[str]] | None = None

    def holds(self, value: Any) -> bool:
        """Whether a number is in the range; infinity, NaN and what no 64-bit integer holds are in none."""
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (not isinstance(value, float) or math.isfinite(value))
            and (not isinstance(value, int) or value < WIDEST)
        )

    def refusal(self, value: Any) -> str:
        """The end of a message about a number that is not in the range."""
        wide = isinstance(value, int) and value >= WIDEST
        return f"must be {'below 2**63' if wide else self.range}, got {value!r}"

    @property
    def description(self) -> str:
        """The help text, and what 0 stands for."""
        return f"{self.help.removesuffix('.')}; 0: {self.zero}." if self.zero else self.help

    @property
    def range(self) -> str:
        """The allowed values in words."""
        low = f"{self.minimum}{f' ({self.zero})' if self.zero else ''}"
        unit = f" {self.unit}" if self.unit else ""
        if self.above is not None:
            return f"above {self.above}"
        if self.below is not None:
            return f"at least {low} and below {self.below}"
        return f"{low} or more{unit}" if self.maximum is None else f"from {low} to {self.maximum}{unit}"


def setting(default: Any, help: str, **known: Any) -> Any:
    """A field of a dataclass with its `Setting`; a list or dict as default is copied."""
    metadata = {"setting": Setting(help, **known)}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def check(settings: Any) -> None:
    """Raise ValueError naming the first field of a dataclass whose value is not one of its choices or out of range."""
    for name, known, choices, optional in _rules(type(settings)):  # type: ignore[arg-type]  # classes are hashable
        value = getattr(settings, name)
        if optional and value is None:
            continue
        allowed = known.choices() if known.choices else choices
        if allowed and value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}")
        if not known.holds(value):
            raise ValueError(f"{name} {known.refusal(value)}")


@cache
def _rules(kind: type) -> list[tuple[str, Setting, tuple[Any, ...], bool]]:
    """Of each setting: its name, what is known, the values of a Literal, whether None is allowed."""
    hints = get_type_hints(kind)  # slow to read, and a sweep makes thousands of configs
    return [
        (
            one.name,
            one.metadata["setting"],
            get_args(hints[one.name]) if get_origin(hints[one.name]) is Literal else (),
            NoneType in get_args(hints[one.name]),
        )
        for one in fields(kind)
        if "setting" in one.metadata
    ]
