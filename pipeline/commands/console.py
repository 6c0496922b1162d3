"""What commands print: results on stdout, notices on stderr."""

from __future__ import annotations

import codecs
import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

from ...features.messages import CONTROLS, Notice, printable
from ...features.progress import finish

PLAIN = {
    "→": "->",
    "–": "-",
    "−": "-",
    "±": "+-",
    "…": "...",
    "×": "x",
    "Δ": "d",
    "·": "|",
}  # where a terminal has ASCII alone


def show(result: Any, as_json: bool, **options: Any) -> None:
    """Print a result as its text, which `options` may shape, or as one JSON object."""
    say(to_json(result.to_dict()) if as_json else printable(result.to_text(**options)))


def say(text: str) -> None:
    """Print a result on stdout; the display of progress ends first."""
    finish()
    print(text, flush=True)


def note(message: str) -> None:
    """Print a line for the user on stderr, so that stdout holds the result alone."""
    print(f"msa: {printable(message)}", file=sys.stderr)


def to_json(value: Any) -> str:
    """One line of JSON; non-ASCII characters as they are where stdout can print them, control characters never."""
    text = json.dumps(value, ensure_ascii=not codecs.lookup(sys.stdout.encoding or "ascii").name.startswith("utf"))
    return CONTROLS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def accept_any_character() -> None:
    """Let stdout and stderr print what their encoding lacks as ASCII, or as an escape, instead of raising."""

    def replace(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        wanted = error.object[error.start : error.end]
        return "".join(PLAIN.get(one) or one.encode("ascii", "backslashreplace").decode() for one in wanted), error.end

    codecs.register_error("msa", replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="msa")


@contextmanager
def notices(*, quiet: bool = False) -> Iterator[None]:
    """Print each notice once as a line of its own, or none if `quiet`; other warnings as Python shows them."""
    seen: set[str] = set()

    def print_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not issubclass(category, Notice):
            show_others(message, category, *where, **more)
        elif str(message) not in seen and not quiet:
            seen.add(str(message))
            note(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", Notice)
        show_others, warnings.showwarning = warnings.showwarning, print_warning
        yield
