"""Splits the lines of CSV and TSV files into cells; a stray quote mark costs at most the line that it is in."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from .columns import Table
from .directory import IMAGE_SUFFIXES
from .labels import UNDECODABLE
from .text import read_lines

# How quote marks are read: around cells, doubled inside; also after a backslash; or as any other character.
Style = Literal["quoted", "escaped", "literal"]

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
MAX_LINES = 200  # of one row: where a quote mark is never closed, each line after it would be read again and again
UNREADABLE = "\udc80"  # for a line in no known encoding; no decoded line holds it
NEVER_CLOSED = "a quote mark opens a cell and none closes it; double the mark, or remove it"
AFTER_QUOTES = "text after a closing quote mark; double the quote marks inside a quoted cell"
UNSURE = "if each line is a row, remove the first and the last quote mark"

csv.field_size_limit(2**31 - 1)  # texts have a limit of their own

_QUOTED_CELL = re.compile(r'\s*"(?:[^"]|"")*"\s*')
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?")
_LETTERS = re.compile(r"[^\W\d_]+")
_DIGITS = re.compile(r"\d+")


def load_separated(file: Path, known: frozenset[str]) -> Table:
    """Read a CSV or TSV file; `known` names of columns tell its separator. Raises ValueError if it cannot be read."""
    lines, notes = read_lines(file)
    table = split_table(lines, "\t" if file.suffix.lower() == ".tsv" else ",", known)
    return replace(table, notes=[*notes, *table.notes])


def split_table(lines: Sequence[str | None], separator: str, known: frozenset[str]) -> Table:
    """Split lines (None: undecodable) into a table; another separator is taken where the header has it."""
    texts = [UNREADABLE if line is None else line for line in lines]
    header = next((text for text in texts if text.strip() and text != UNREADABLE), "")
    notes = []
    if named := re.fullmatch(r'"?sep=(.)"?\s*', header, re.IGNORECASE):  # Excel's own first line
        texts[texts.index(header)] = ""
        separator = named[1]
    elif (found := _find_separator(header, separator, known)) != separator:
        separator = found
        notes.append(f"columns are separated by {SEPARATORS[separator]}")
    reading = _read_best(texts, separator)
    if len(reading.rows) == 1 < len(texts) and reading.problems:  # R names no column of row numbers
        texts[reading.rows[0][0] - 1] = separator + texts[reading.rows[0][0] - 1]
        shifted = _read_best(texts, separator)
        if not shifted.problems and all(cells[0].isdecimal() for _, cells in shifted.rows[1:]):
            reading = shifted
            notes.append("the first column, which the header does not name, is not read")
    if reading.style == "escaped":
        notes.append("quote marks in cells are marked by a backslash")
    if reading.stray:
        notes.append(f"lines with a stray quote mark, read as they are: {reading.stray}")
    columns = reading.rows[0][1] if reading.rows else []
    if not (is_header := not _is_row_of_data(columns, known)):
        notes.append("no header line; the first line is a post")
    rows = reading.rows[1:] if is_header else reading.rows
    others = [(line, cells) for line, cells in rows if not is_header or len(cells) == 1 or cells != columns]
    if len(others) < len(rows):  # tables were put one after another
        notes.append(f"lines that repeat the header, left out: {len(rows) - len(others)}")
    numbered = [(line, {number: cell for number, cell in enumerate(cells) if cell}) for line, cells in others]
    return Table(columns, numbered, reading.problems, notes, is_header)


def _find_separator(header: str, own: str, known: frozenset[str]) -> str:
    """The separator by which most known names are in the header; on a tie its own, if that gives several columns."""

    def score(separator: str) -> tuple[int, bool, int]:
        cells = [cell.strip().strip('"').casefold() for cell in header.split(separator)]
        return len(known.intersection(cells)), separator == own and len(cells) > 1, len(cells)

    return max((own, *SEPARATORS), key=score)


def _is_row_of_data(cells: Sequence[str], known: frozenset[str]) -> bool:
    """Whether a first line is a post, not a header: it has a number or a file's name. 0,1,2 is a header of pandas."""
    if not known.isdisjoint(cell.casefold() for cell in cells) or cells == [str(n) for n in range(len(cells))]:
        return False
    return any(_NUMBER.fullmatch(cell) or cell.lower().endswith(IMAGE_SUFFIXES) for cell in cells)


@dataclass
class _Reading:
    """Rows with their first line (1-based), the header first; lines that could not be read; lines read literally."""

    style: Style
    rows: list[tuple[int, list[str]]] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    stray: int = 0
    spanning: int = 0  # rows of several lines

    @property
    def faults(self) -> int:
        return len(self.problems) + self.stray


def _read_best(lines: Sequence[str], separator: str) -> _Reading:
    """The reading in which most lines fit; of equal ones with tabs, the literal one unless cells must be quoted."""
    readings = [quoted := _Splitter(lines, separator, "quoted").read()]
    if separator == "\t":
        must_be_quoted = (quoted.spanning and not quoted.faults) or _has_quoted_cells(lines)
        readings.insert(bool(must_be_quoted), _Splitter(lines, separator, "literal").read())
    if all(reading.faults for reading in readings):
        readings.append(_Splitter(lines, separator, "escaped").read())
    return min(readings, key=lambda reading: reading.faults)


def _has_quoted_cells(lines: Sequence[str]) -> bool:
    """Whether every cell that begins with a quote mark is a quoted one, and one is in the header or must be quoted."""
    marked = [line for line in lines if '"' in line]
    cells = [cell for line in marked for cell in line.split("\t") if cell.lstrip().startswith('"')]
    if not all(map(_QUOTED_CELL.fullmatch, cells)):
        return False
    header = next((line for line in lines if line.strip()), "")
    return header.lstrip().startswith('"') or any('""' in cell.strip()[1:-1] for cell in cells)


class _Splitter:
    """Splits lines in one style. A line that does not fit is tried by itself in the other styles."""

    def __init__(self, lines: Sequence[str], separator: str, style: Style) -> None:
        self.lines = lines
        self.separator = separator
        self.style = style
        self.width = 0  # 0 until the header is read

    def read(self) -> _Reading:
        reading = _Reading(self.style)
        end = 0
        while end < len(self.lines):
            first, reason = end, ""
            try:
                cells, end = self._row(first)
            except csv.Error as error:
                cells, end, reason = None, first + 1, _explain(error)
            if cells is not None and not any(cells):
                continue
            if any(UNREADABLE in cell for cell in cells or ()):
                cells, reason = None, UNDECODABLE
            elif not self.width:
                cells = cells or self._literal(first)
                self.width = len(cells)
            elif end - first > 1 and cells is not None and len(cells) == self.width:
                share = self._share_of_rows(first, end)
                if share > 2 / 3:
                    cells, end = None, first + 1
                elif share:
                    reading.problems.append((first + 1, f"{_span(first, end)}one row as it is quoted; {UNSURE}"))
            if cells is None or len(cells) != self.width:
                alone = self._alone(first)
                if alone is None:
                    reason = reason or self._say_width(len(cells or ()))
                    if any(self._alone(number) for number in range(first + 1, end)):
                        end = first + 1  # a row may follow inside what was taken for one cell
                    reading.problems.append((first + 1, _span(first, end) + reason))
                    continue
                reading.stray += 1
                cells, end = alone, first + 1
            reading.spanning += end - first > 1
            reading.rows.append((first + 1, cells))
        return reading

    def _say_width(self, count: int) -> str:
        marks = SEPARATORS.get(self.separator, "the separator")
        cure = (
            f"put quote marks around cells with {marks}" if count > self.width else f"{marks} or a line end is missing"
        )
        return f"{count} fields, but the header has {self.width}; {cure}"

    def _row(self, first: int) -> tuple[list[str], int]:
        """The cells of the row that begins at a line, and the line after it. Raises csv.Error."""
        line = self.lines[first]
        if self.style == "literal" and '"' in line:
            return [cell.strip() for cell in line.split(self.separator)], first + 1
        if '"' not in line and not (self.style == "escaped" and "\\" in line):
            return self._fit(line.split(self.separator)), first + 1
        numbers = range(first, min(first + MAX_LINES, len(self.lines)))
        cells, count = self._parse((self.lines[number] + "\n" for number in numbers), self.style)
        return cells, first + count

    def _alone(self, number: int) -> list[str] | None:
        """The cells of one line by itself, quoted, with backslashes or literally; None where none fits the header."""
        if self.lines[number] == UNREADABLE:
            return None
        for style in ("quoted", "escaped"):
            try:
                cells, _ = self._parse([self.lines[number]], style)
            except csv.Error:
                continue
            if len(cells) == self.width:
                return cells
        cells = self._literal(number)
        return cells if len(cells) == self.width else None

    def _parse(self, lines: Iterable[str], style: Style) -> tuple[list[str], int]:
        """The cells of the first row of these lines, and how many lines it takes. Raises csv.Error."""
        escape = None
        if style == "escaped":
            escape, lines = "\\", (line.replace(r"\N", r"\\N") for line in lines)  # \N is NULL in SQL
        reader = csv.reader(lines, delimiter=self.separator, escapechar=escape, strict=True, skipinitialspace=True)
        return self._fit(next(reader, [])), reader.line_num

    def _literal(self, number: int) -> list[str]:
        """The cells of one line; quote marks are removed only where they are around a cell."""
        cells = (cell.strip() for cell in self.lines[number].split(self.separator))
        return self._fit([c[1:-1].replace('""', '"') if len(c) > 1 and c[0] == c[-1] == '"' else c for c in cells])

    def _fit(self, cells: Sequence[str]) -> list[str]:
        """Stripped cells, without empty ones beyond the header."""
        fitted = [cell.strip() for cell in cells]
        while self.width and len(fitted) > self.width and not fitted[-1]:
            fitted.pop()
        return fitted

    def _share_of_rows(self, first: int, end: int) -> float:
        """How sure it is that the lines of one quoted row are rows themselves, that is, that its quotes are two strays.

        The share of their cells that are like others of their column, without the cells that the row has in any case:
        those before its opening quote mark and after the closing one. A line that does not fit the header counts as
        one that is not. 0.5 where no column tells, and a line fits.
        """
        told: list[bool] = []
        numbers = [number for number in range(first, end) if self.lines[number].strip()]
        fitting = {number: cells for number in numbers if (cells := self._alone(number))}
        columns = [(column, seen) for column, seen in enumerate(self._seen) if seen]
        inside = [cells for number, cells in fitting.items() if any(cells) and '"' not in self.lines[number]]
        own = Counter((column, seen.form(cells[column])) for cells in inside for column, seen in columns)
        if any(2 * len(inside) > seen.counts.total() for _, seen in columns):
            own.clear()  # most lines of the file are in this row: they are compared with one another
        for number in numbers:
            cells = fitting.get(number) or self._literal(number)
            marked = [column for column, cell in enumerate(cells) if '"' in cell]
            start = marked[-1] + 1 if marked and number == first else 0
            stop = marked[0] if marked and number == end - 1 else len(cells)
            for column, seen in columns:
                if start <= column < min(stop, len(cells)) and '"' not in cells[column]:
                    form = seen.form(cells[column])
                    told.append(seen.counts[form] > own[column, form])
            told += [False] * (number not in fitting)
        if self.width == 1 or not columns:
            return 0.5 * (self.width > 1 and len(fitting) > 0)
        return sum(told) / max(1, len(told))

    @cached_property
    def _seen(self) -> list[_Seen | None]:
        """For each column what lines without quote marks have there; None where they vary."""
        split = (self._fit(line.split(self.separator)) for line in self.lines if '"' not in line)
        rows = [cells for cells in split if len(cells) == self.width and any(cells)][1:]
        return [_summarize([cells[column] for cells in rows]) for column in range(self.width)]


class _Seen(NamedTuple):
    """How often a column has each of its few values, or each of their few forms."""

    form: Callable[[str], str]
    counts: Counter[str]


def _summarize(column: Sequence[str]) -> _Seen | None:
    for form in (str, _form):
        counts = Counter(map(form, column))
        if counts and 4 * len(counts) <= len(column):
            return _Seen(form, counts)
    return None


def _form(cell: str) -> str:
    """A cell without its letters and digits, as a/a0.a for img/x17.jpg."""
    return _DIGITS.sub("0", _LETTERS.sub("a", cell))


def _explain(error: csv.Error) -> str:
    known = {"expected after": AFTER_QUOTES, "unexpected end": NEVER_CLOSED}
    return next((reason for sign, reason in known.items() if sign in str(error)), str(error))


def _span(first: int, end: int) -> str:
    return f"lines {first + 1} to {end}: " if end - first > 1 else ""
