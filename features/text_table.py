"""What the commands print: tables and paragraphs as plain text; the command line styles them on a terminal."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from rich.cells import cell_len

from .messages import printable

NUMBER = re.compile(r"[-+−<~]?\d")
NONE = ("", "-", "–")  # cells without a value


@dataclass(frozen=True)
class Table:
    """A table with a title, if any. `bold` are rows, or single cells as (row, column), that a terminal shows in bold.

    Columns of numbers are aligned to the right, all others to the left.
    """

    header: Sequence[str]
    lines: Sequence[Sequence[object]]
    title: str = ""
    bold: Collection[int | tuple[int, int]] = ()

    @property
    def rows(self) -> list[list[str]]:
        """The cells as texts of one line each, without the header."""
        return [[str(cell).replace("\n", "\\n") for cell in line] for line in self.lines]

    @property
    def numbers(self) -> list[bool]:
        """Whether each column holds numbers alone, some of which may be missing."""
        return [
            all(cell in NONE or NUMBER.match(cell) for cell in column)
            for column in ([row[at].strip() for row in self.rows] for at in range(len(self.header)))
        ]

    def is_bold(self, row: int, column: int) -> bool:
        """Whether a cell is shown in bold."""
        return row in self.bold or (row, column) in self.bold

    def __str__(self) -> str:
        """Aligned columns; a wide character counts as two. A row is one line, whatever its cells hold."""
        rows = [list(self.header), *self.rows]
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        rows.insert(1, ["-" * width for width in widths])
        shape = list(zip(widths, self.numbers, strict=True))
        lines = ("  ".join(_pad(cell, *one) for cell, one in zip(row, shape, strict=True)).rstrip() for row in rows)
        return "\n".join([*([self.title] if self.title else []), *lines])


def _pad(cell: str, width: int, number: bool) -> str:
    space = " " * (width - cell_len(cell))
    return space + cell if number else cell + space


def table(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A table as plain text."""
    return str(Table(header, lines))


Part = Table | str


def paragraph(lines: Sequence[str]) -> list[Part]:
    """The lines as one part, if there are any."""
    return ["\n".join(lines)] if lines else []


class Report:
    """A result that consists of tables and paragraphs."""

    def parts(self) -> Sequence[Part]:
        """What is printed, in order."""
        raise NotImplementedError

    def to_text(self) -> str:
        """The parts as plain text."""
        return "\n\n".join(map(str, self.parts()))

    def _repr_html_(self) -> str:
        """The same, as notebooks show it."""
        return f"<pre>{escape(printable(self.to_text()))}</pre>"


@dataclass(frozen=True)
class TableReport(Report):
    """Entries as `--json` shows them, and as the lines of a table with notes below; facts go to `--json` alone."""

    entries: Sequence[dict[str, Any]]
    header: Sequence[str]
    lines: Sequence[Sequence[object]]
    notes: Sequence[str] = ()
    name: str = "encoders"  # of the entries
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {**self.facts, self.name: list(self.entries)}

    def parts(self) -> list[Part]:
        """The table and its notes, as they are printed."""
        table: list[Part] = [Table(self.header, self.lines)] if self.lines else []
        return [*table, *paragraph(self.notes)]
