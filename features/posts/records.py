"""Reads tables of records: JSON lines, and JSON documents of several shapes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .cells import known_split
from .columns import Table
from .labels import UNDECODABLE
from .text import read_lines

_SPACE = re.compile(r"\s*")
_BETWEEN_ITEMS = re.compile(r"[\s,]*")

Numbered = tuple[int, Any]  # a line (1-based) and the value that begins there


@dataclass(frozen=True)
class _Repeated:
    """In place of an object in which one key occurs several times."""

    key: str


def load_json(file: Path, known: frozenset[str]) -> Table:
    """JSON lines, objects over several lines, an array, or one object of records; `known` names tell columns.

    Raises ValueError for a file that is nothing of these.
    """
    lines, notes = read_lines(file)
    table = _load_json(file, lines, known)
    return replace(table, notes=[*notes, *table.notes])


def _load_json(file: Path, lines: Sequence[str | None], known: frozenset[str]) -> Table:
    problems: list[tuple[int, str]] = []
    values: list[Numbered] = []
    fault = "a line in no known encoding"
    if None not in lines:
        text = "\n".join(line for line in lines if line is not None)
        try:
            return _to_table(_records(text, list(_values(text)), known))
        except json.JSONDecodeError as error:
            fault = f"line {error.lineno}: {error.msg}"
        except (ValueError, RecursionError) as error:
            fault = str(error)
    for number, line in enumerate(lines, start=1):
        if line is None:
            problems.append((number, UNDECODABLE))
        elif line.strip():
            try:
                values.append((number, _DECODER.decode(line)))
            except (ValueError, RecursionError) as error:
                problems.append((number, f"not one JSON object: {error}"))
    table = _to_table(values, problems)
    if not table.rows and problems:
        raise ValueError(f"{file} has neither one JSON object a line nor one JSON array ({fault}); mend that line")
    return table


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Repeated:
    found = {name.strip(): value for name, value in pairs}
    if len(found) == len(pairs):
        return found
    return _Repeated(Counter(name.strip() for name, _ in pairs).most_common(1)[0][0])


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _values(text: str, at: int = 0, between: re.Pattern[str] = _SPACE, end: str = "") -> Iterator[Numbered]:
    """Line and value of each JSON value from a position on, up to the character `end`. Raises ValueError."""
    line, counted = 1, 0
    while True:
        match = between.match(text, at)
        assert match is not None
        at = match.end()
        if text[at : at + 1] == end:
            return
        line, counted = line + text.count("\n", counted, at), at
        value, at = _DECODER.raw_decode(text, at)
        yield line, value


def _records(text: str, values: list[Numbered], known: frozenset[str]) -> Iterable[Numbered]:
    """The records of a document: its values, the items of its only array, or what its only object holds."""
    if len(values) != 1:
        return values
    line, value = values[0]
    if isinstance(value, list):
        return _values(text, text.index("[") + 1, _BETWEEN_ITEMS, "]")
    if isinstance(value, dict):
        return ((line, record) for record in _held(value, known))
    return values


def _held(document: Mapping[str, Any], known: frozenset[str]) -> Iterable[Any]:
    """The records of one object: by id, by split, in one list, as columns; or the object itself."""
    named = any(name.casefold() in known for name in document)
    held = list(document.values())
    if named and held and all(isinstance(value, dict) for value in held):  # column -> row -> cell, as pandas writes
        rows = dict.fromkeys(row for column in held for row in column)
        return [{name: column.get(row) for name, column in document.items()} for row in rows]
    if named and held and all(isinstance(value, list) for value in held):
        longest = max(map(len, held))
        if any(len(column) != longest for column in held):
            raise ValueError("columns of different lengths")
        return [dict(zip(document, cells, strict=True)) for cells in zip(*held, strict=True)]
    if not named and held and all(isinstance(value, dict) for value in held):
        return [{"id": name} | record for name, record in document.items()]
    lists = {name: value for name, value in document.items() if isinstance(value, list) and _of_objects(value)}
    if not named and len(lists) == 1:
        return next(iter(lists.values()))
    if not named and lists and all(map(known_split, lists)):
        return [{"split": name} | record for name, records in lists.items() for record in records]
    return [document]


def _of_objects(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, dict) for item in items)


def _to_table(values: Iterable[Numbered], problems: Iterable[tuple[int, str]] = ()) -> Table:
    columns: dict[str, int] = {}
    rows, found = [], list(problems)
    for line, value in values:
        if isinstance(value, dict):
            cells = {columns.setdefault(name, len(columns)): cell for name, cell in value.items()}
            rows.append((line, cells))
        elif isinstance(value, _Repeated):
            found.append((line, f"the key {value.key!r} occurs several times in one object; keep one"))
        else:
            found.append((line, f"not one JSON object: a JSON {type(value).__name__}"))
    return Table(list(columns), rows, sorted(found))
