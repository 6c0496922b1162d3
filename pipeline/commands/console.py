"""What commands print: results on stdout, notices on stderr; styled on a terminal, plain text elsewhere."""

from __future__ import annotations

import codecs
import json
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from shutil import get_terminal_size
from typing import Any

from rich.cells import cell_len

from ...features.messages import CONTROLS, Notice, printable
from ...features.progress import finish
from ...features.text_table import Part, Report, Table
from ..tracking.events import Note, log

# where a terminal has ASCII alone
PLAIN = {"→": "->", "–": "-", "−": "-", "±": "+-", "…": "...", "×": "x", "Δ": "d", "·": "|"}
WORD = re.compile(r"`[^`]*`\S*|\S+")  # a command in backquotes is not broken


def show(result: Any, as_json: bool, *more: str, **options: Any) -> None:
    """Print a result, part by part, then `more` lines, or print it as one JSON object; `options` may shape the text."""
    if as_json:
        return say(to_json(result.to_dict()))
    parts = result.parts(**options) if isinstance(result, Report) else [result.to_text(**options)]
    return print_parts([*parts, *(["\n".join(more)] if more else [])])


def say(text: str) -> None:
    """Print a text on stdout as it is; the display of progress ends first."""
    finish()
    print(text, flush=True)


def print_parts(parts: list[Part]) -> None:
    """Print tables and paragraphs: on a terminal as wide as it is, elsewhere as plain text."""
    finish()
    if not sys.stdout.isatty():
        return say(printable("\n\n".join(map(str, parts))))
    from rich.console import Console
    from rich.text import Text

    console = Console(width=width())
    for number, part in enumerate(parts):
        table = part if isinstance(part, Table) else None
        lines = table.title if table else str(part)
        if number:
            console.print()
        if lines:
            console.print(Text(fold(printable(lines), console.width), "bold" if table else ""), soft_wrap=True)
        if table:
            console.print(styled(table))
    return None


def styled(table: Table) -> Any:
    """A table as rich prints it: cells that are too wide for the terminal continue in their column."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name, number in zip(table.header, table.numbers, strict=True):
        shown.add_column(Text(printable(name)), justify="right" if number else "left", overflow="fold")
    for at, row in enumerate(table.rows):
        styles = ("bold green" if table.is_bold(at, column) else "" for column in range(len(row)))
        shown.add_row(*(Text(printable(cell), style=style) for cell, style in zip(row, styles, strict=True)))
    return shown


def width() -> int:
    """The columns of the terminal."""
    return max(40, get_terminal_size().columns)


def fold(text: str, columns: int) -> str:
    """Break long lines between words; what continues a line is indented. A command in backquotes stays whole."""
    return "\n".join(one for line in text.splitlines() for one in _fold_line(line, columns))


def _fold_line(line: str, columns: int) -> Iterator[str]:
    if cell_len(line) <= columns:
        yield line
        return
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    current = line[: len(line) - len(line.lstrip())]
    begun = False
    for word in WORD.findall(line):
        if begun and cell_len(current) + 1 + cell_len(word) > columns:
            yield current
            current, begun = indent, False
        current += f" {word}" if begun else word
        begun = True
    yield current


def note(message: str) -> None:
    """Print a line for the user on stderr, so that stdout holds the result alone."""
    log(Note(message))
    line = f"msa: {printable(message)}"
    print(fold(line, width()) if sys.stderr.isatty() else line, file=sys.stderr)


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
