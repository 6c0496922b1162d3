"""CSV that spreadsheets open as it is meant: UTF-8, marked where it matters, an apostrophe before a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Sequence
from types import SimpleNamespace

BOM = "\ufeff"  # spreadsheets take a file without it for text in the code page of a computer; ASCII needs none
FORMULA = re.compile(r"'*[=+\-@\t\r]")  # apostrophes count, so that one that was there stays
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def to_csv(header: Sequence[str], lines: Iterable[Iterable[object]], *, plain: bool = False) -> str:
    """CSV text with a header, and with a byte order mark unless all is ASCII; `plain`: none, and texts as they are."""
    text = io.StringIO()
    # With this terminator a cell with a carriage return is quoted, too; lines of the file end without one.
    writer = csv.writer(SimpleNamespace(write=lambda row: text.write(f"{row[:-2]}\n")), lineterminator="\r\n")
    for line in (header, *lines):
        writer.writerow(line if plain else map(_escaped, line))
    return text.getvalue() if plain else marked(text.getvalue())


def marked(text: str) -> str:
    """The text after a byte order mark, which ASCII does not need and programs trip over."""
    return text if text.isascii() else BOM + text


def read_cell(text: str) -> str:
    """The text that `to_csv` wrote as this cell."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def class_columns(others: Collection[str], classes: Sequence[str]) -> list[str]:
    """A column for each class beside these others: its name, or `probability of NAME` where that is taken."""
    names: list[str] = []
    for one in classes:
        name = one
        while name in others or name in names or (name != one and name in classes):
            name = f"probability of {name}"
        names.append(name)
    return names


def _escaped(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell
