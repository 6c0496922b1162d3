"""How a setting of a dataclass is written as an option: its name, and its value on the command line and in files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from ...features.setting import Setting
from .values import Grid, read_grid, read_value, write_grid


class Form(NamedTuple):
    """How a field's type is given on the command line: the option's type, and both ways between the two."""

    type: Any
    read: Callable[[Any], Any] = lambda value: value
    write: Callable[[Any], Any] = lambda value: value


def read_pairs(flag: str, given: Collection[str]) -> dict[str, str]:
    """`NAME=VALUE` texts as a dict; ValueError for one without `=`."""
    for pair in given:
        if "=" not in pair:
            raise ValueError(f"{flag} wants NAME=VALUE; got {pair!r}")
    return dict(pair.split("=", 1) for pair in given)


FORMS: dict[Any, Form] = {
    tuple[str, ...]: Form(list[str], tuple, list),
    int | None: Form(int, lambda number: number or None, lambda number: number or 0),
    Grid | None: Form(str, read_grid, write_grid),
    Path | None: Form(
        Path | None,
        lambda path: None if path is None else Path(path),
        lambda path: None if path is None else str(path),  # for JSON
    ),
    Mapping[str, int | float | str]: Form(
        list[str],
        lambda given: {name: read_value(value) for name, value in read_pairs("--option", given).items()},
        lambda options: [f"{name}={value}" for name, value in options.items()],
    ),
}


def form_of(hint: Any) -> Form:
    """The form of a type; most are given as they are."""
    return FORMS.get(hint, Form(hint))


def option_flags(field: Field[Any]) -> tuple[str, ...]:
    """The spellings of a setting's option, the main one first."""
    known = field.metadata.get("setting")
    own = known.flags if isinstance(known, Setting) else ()
    return own or (f"--{field.name.replace('_', '-')}",)


def read_settings(kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `options`, which have the values of a file under main spellings, that are settings of a dataclass.

    Returns the values that the dataclass takes, by field.
    """
    hints = get_type_hints(kind)
    found = {}
    for one in fields(kind):
        name = option_flags(one)[0].removeprefix("--")
        if name in options and "setting" in one.metadata:
            form, value = form_of(hints[one.name]), options[name]
            found[one.name] = form.read([value] if form.type == list[str] and isinstance(value, str) else value)
    return found
