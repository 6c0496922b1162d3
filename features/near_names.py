"""Near names: the choices that a misspelled name may have meant, for error messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near_names(name: str, choices: Iterable[str]) -> str:
    """'; did you mean x or y?' for the end of a message; empty where no choice is like `name`."""
    near = get_close_matches(name, list(choices), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def near_or_all(name: str, choices: Iterable[str]) -> str:
    """The same, or '; known are …' with all choices where none is like `name`."""
    choices = sorted(choices)
    return near_names(name, choices) or f"; known are {', '.join(choices)}"
