"""Errors as users read them: one line with what was wanted, what was got, and what to do, with near names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from traceback import extract_tb

from .installation import explain_import_error, message_of

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # and marks that turn text around
TRACEBACK = "Traceback (most recent call last)"
ROOT = Path(__file__).resolve().parent.parent
SHORT = 24  # characters of a name in a figure
OUT_OF_MEMORY = "out of memory", "can't allocate memory", "not enough memory"  # as torch says it, on a GPU and a CPU
ALLOCATION = re.compile(r"(?:tried|unable) to allocate [\d.]+ \w+", re.IGNORECASE)
LOWER = (
    "lower --batch-size, --hidden or an --option of the head, or --batch of a sweep; where the memory of a GPU is "
    "short, give --device cpu"
)


class Notice(UserWarning):
    """What was left out, or done otherwise than one would expect. The command line prints it as one line."""


def notify(message: str) -> None:
    """Warn of it; the command goes on."""
    warnings.warn(message, Notice, stacklevel=3)


def explain(error: Exception) -> str | None:
    """One line for an error that a user can correct; empty where the help was shown; None for any other."""
    explained = explain_import_error(error)
    if explained:
        return explained
    if type(error).__name__ == "NoArgsIsHelpError":
        return str(error)
    usage = getattr(error, "format_message", None)
    if callable(usage):  # click's usage errors, whichever click typer brings
        return one_line(usage()) + "; see `msa --help`"
    if is_out_of_memory(error):
        asked = ALLOCATION.search(_text(error))
        return f"out of memory ({asked.group().lower() if asked else 'no size is known'}); {LOWER}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    if isinstance(error, (ValueError, OSError)):
        return _text(error) or type(error).__name__
    return None


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory is short, of the machine or of its GPU."""
    return isinstance(error, MemoryError) or any(sign in _text(error) for sign in OUT_OF_MEMORY)


def unexpected(error: Exception) -> str:
    """One line for an error of msa, or of a library that it calls: its kind, its text, and where msa was."""
    own = [frame for frame in extract_tb(error.__traceback__) if ROOT in Path(frame.filename).parents]
    place = f" at {Path(own[-1].filename).relative_to(ROOT)}:{own[-1].lineno}" if own else ""
    kind = type(error)
    library = kind.__module__.partition(".")[0]
    name = kind.__name__ if library in ("builtins", "msa") else f"{library}'s {kind.__name__}"
    whole = message_of(error)
    text = _text(error) if TRACEBACK in whole else one_line(whole.strip().partition("\n")[0])  # the rest is detail
    return f"{name}{place}: {text or 'no message'}; add --debug for the traceback, and report it with that"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind where it has none: libraries go on with detail."""
    return one_line(message_of(error).strip().partition("\n")[0]) or type(error).__name__


def one_line(text: str) -> str:
    """A text without line breaks and without a full stop at its end."""
    return " ".join(text.split()).rstrip(".")


def _text(error: Exception) -> str:
    """The message of an error in one line; of one that holds a traceback, as Ray's do, its last line."""
    text = message_of(error)
    return one_line(text.rstrip().splitlines()[-1] if TRACEBACK in text else text)


def printable(text: str) -> str:
    """The text with its control characters as escapes: a label or an id must not command a terminal or a page."""
    return CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def short(name: object, longest: int = SHORT) -> str:
    """A name in one line of at most so many characters, control characters as escapes."""
    text = " ".join(printable(str(name)).split()) or "''"
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def near_names(name: str, choices: Iterable[str]) -> str:
    """'; did you mean x or y?' for the end of a message; empty where no choice is like `name`."""
    near = get_close_matches(name, list(choices), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def near_or_all(name: str, choices: Iterable[str]) -> str:
    """The same, or '; known are …' with all choices where none is like `name`."""
    choices = sorted(choices)
    return near_names(name, choices) or f"; known are {', '.join(choices)}"
