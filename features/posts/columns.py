"""A table that was read from a file, and which of its columns are meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from typing import Any

from ..blob import Blob
from .cells import split_names
from .directory import IMAGE_SUFFIXES

CANONICAL = ("id", "image", "text", "label", "split", "group")

_POSITION = re.compile(r"#([1-9]\d{0,5})")
_UNNAMED = re.compile(r"|Unnamed: \d+|index", re.IGNORECASE)  # the row numbers of pandas


@dataclass(frozen=True)
class Table:
    """`rows`: line (1-based) and non-empty cells by number of the column; `problems`: line and reason.

    Without a header the columns are the cells of the first row, which is in `rows` as well.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[int, Mapping[int, Any]]]
    problems: Sequence[tuple[int, str]] = ()
    notes: Sequence[str] = ()
    has_header: bool = True


def known_names(asked: Mapping[str, str], usual: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """The names of columns that are looked for, case-folded."""
    named = chain.from_iterable((name, *split_names(name)) for name in asked.values())
    return frozenset(name.casefold() for name in (*CANONICAL, *chain(*usual.values()), *named))


def find_columns(
    file: str,
    table: Table,
    asked: Mapping[str, str],
    usual: Mapping[str, Sequence[str]],
    elsewhere: Collection[str] = (),
) -> dict[str, int]:
    """Canonical name -> number of the column: the user's choice, else one of that name, else the layout's names for it.

    A choice is a name, or a position as #4 (1-based); of several for the text, joined by +, it is the first. Where it
    is a column `elsewhere`, in another table of the data set, a table may lack it; the labels of that may stand in a
    table of ids and labels. Raises ValueError for any other absent choice, for a name of several columns, for no
    columns, and where there is neither image nor text.
    """
    if not table.columns:
        why = next((f"line {line}: {reason}" for line, reason in table.problems), "it is empty")
        raise ValueError(f"{file} holds no table ({why}); a table begins with its column names, as id,image,text,label")
    if not table.has_header and not any(_POSITION.fullmatch(name) for name in asked.values()):
        raise ValueError(_say_how_to_name(file, table.columns))
    found: dict[str, int] = {}
    for canonical in CANONICAL:
        number = None
        if canonical in asked:
            name = split_names(asked[canonical], table.columns)[0] if canonical == "text" else asked[canonical]
            number = _find_asked(file, table, canonical, name, elsewhere)
        if number is None:
            names = (canonical, *usual.get(canonical, ())) if table.has_header else ()
            numbers = (_find_usual(file, table.columns, canonical, name) for name in names)
            number = next((number for number in numbers if number is not None), None)
        if number is not None:
            found[canonical] = number
    if "image" not in found and "text" not in found and not (elsewhere and {"id", "label"} <= found.keys()):
        cure = "name them with --column image=NAME or --column text=NAME"
        if len(table.columns) == 1:
            cure += "; or remove lines above its header, and separate columns by commas, semicolons, tabs or |"
        raise ValueError(f"{file} has no column for the image or the text, only {_listed(table.columns)}; {cure}")
    return found


def find_further_texts(file: str, table: Table, asked: Mapping[str, str], elsewhere: Collection[str] = ()) -> list[int]:
    """The numbers of the columns that are joined to the first one of the text. Raises ValueError as `find_columns`."""
    names = split_names(asked.get("text", ""), table.columns)[1:]
    found = [_find_asked(file, table, "text", name, elsewhere) for name in names]
    return [number for number in found if number is not None]


def note_unread(table: Table, found: Mapping[str, int], absent: Collection[str]) -> list[str]:
    """Notes on the columns among which an image, or another of the `absent`, may be meant and is not read."""
    first = [(number, cell) for _, row in table.rows[:100] for number, cell in row.items()]
    unread = dict.fromkeys(number for number, _ in first if number not in found.values())
    naming = {
        number for number, cell in first if isinstance(cell, Blob) or (isinstance(cell, str) and _names_image(cell))
    }
    images = [number for number in unread if number in naming]
    notes = []
    if images and "image" not in found:
        listed = " or ".join(f"--column image=#{number + 1}" for number in images)
        notes.append(f"no column is read as the image, though some name images: {listed}")
    others = [table.columns[number] for number in sorted(unread) if number not in images]
    if (others := [name for name in others if not _UNNAMED.fullmatch(name)]) and table.has_header:
        wanted = [name for name in absent if name not in found]
        notes += [
            f"no column is read as the {one}; --column {one}=NAME takes one of: {_listed(others)}" for one in wanted
        ]
    return notes


def _find_asked(file: str, table: Table, canonical: str, name: str, elsewhere: Collection[str]) -> int | None:
    columns = table.columns if table.has_header else ()
    if name in columns:
        return _only_one(file, columns, canonical, name)
    if (position := _POSITION.fullmatch(name)) and int(position[1]) <= len(table.columns):
        return int(position[1]) - 1
    if name in elsewhere:
        return None
    near = get_close_matches(name, columns) or list(table.columns)
    raise ValueError(f"{file} has no column {name!r} for {canonical}; did you mean {_listed(near)}?")


def _find_usual(file: str, columns: Sequence[str], canonical: str, name: str) -> int | None:
    """The number of the column of that name, else of the one that differs in case only."""
    spelled = [name] if name in columns else [column for column in columns if column.casefold() == name]
    return _only_one(file, columns, canonical, *spelled) if spelled else None


def _only_one(file: str, columns: Sequence[str], canonical: str, *names: str) -> int:
    name, numbers = names[0], [number for number, column in enumerate(columns) if column in names]
    if len(numbers) > 1:
        choices = " or ".join(f"--column {canonical}=#{number + 1}" for number in numbers)
        raise ValueError(f"{file} has several columns called {name!r}; name one by its position: {choices}")
    return numbers[0]


def _say_how_to_name(file: str, first: Sequence[str]) -> str:
    """The message for a table without a header: options that name its image and, the longest cell, its text."""
    images = [number for number, cell in enumerate(first) if _names_image(cell)]
    others = [number for number in range(len(first)) if number not in images]
    text = max(others, key=lambda number: len(first[number]), default=None)
    chosen = [*(("image", number) for number in images[:1]), *([("text", text)] if text is not None else [])]
    options = " ".join(f"--column {name}=#{number + 1}" for name, number in chosen)
    return (
        f"{file} has no header line: the first is {_listed(first)}; name its columns by position, as {options}, "
        "or add a header line"
    )


def _names_image(cell: str) -> bool:
    return cell.lower().endswith(IMAGE_SUFFIXES)


def _listed(columns: Sequence[str]) -> str:
    """Column names for a message of one line; long and unprintable names are quoted, long lists are cut."""
    names = [name if name.isprintable() and len(name) <= 40 else repr(name[:40]) for name in columns[:20]]
    return ", ".join([*names, "…"] if len(columns) > 20 else names)
