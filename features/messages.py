"""Errors as users read them: one line with what was wanted, what was got, and what to do, with near names."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from difflib import get_close_matches

from .installation import explain_import_error


class Notice(UserWarning):
    """What was left out, or done otherwise than one would expect. The command line prints it as one line."""


def notify(message: str) -> None:
    """Warn of it; the command goes on."""
    warnings.warn(message, Notice, stacklevel=3)


def explain(error: Exception) -> str | None:
    """One line for an error that a user can correct; empty where the help was shown; None for a bug of msa."""
    explained = explain_import_error(error)
    if explained:
        return explained
    if type(error).__name__ == "NoArgsIsHelpError":
        return str(error)
    if hasattr(error, "format_message"):  # click's usage errors, whichever click typer brings
        return _line(error.format_message()) + "; see `msa --help`"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    if isinstance(error, (ValueError, OSError, MemoryError)):
        return _line(str(error)) or type(error).__name__
    return None


def _line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def near_names(name: str, choices: Iterable[str]) -> str:
    """'; did you mean x or y?' for the end of a message; empty where no choice is like `name`."""
    near = get_close_matches(name, list(choices), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def near_or_all(name: str, choices: Iterable[str]) -> str:
    """The same, or '; known are …' with all choices where none is like `name`."""
    choices = sorted(choices)
    return near_names(name, choices) or f"; known are {', '.join(choices)}"
