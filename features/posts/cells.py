"""Reads single cells of a table: what is missing, what a list stands for, names of splits; counts what it replaced."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from reprlib import repr as shorten
from typing import Any

from ..blob import Blob
from .containers.aspects import ASPECT
from .directory import IMAGE_SUFFIXES

# What pandas, R, SQL, JSON and spreadsheets write where there is no value, case-folded.
MISSING = frozenset(
    [
        *("", "nan", "-nan", "none", "null", "n/a", "na", "#n/a", "#na", "<na>", "nat", r"\n"),
        *("#name?", "#ref!", "#value!", "#div/0!", "#null!", "#num!"),
    ]
)

SEVERAL_IMAGES = "posts with several images"

SPLITS = ("train", "val", "test")
_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "devel", "development", "eval"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_NO_WORD = re.compile(r"[\W\d_]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
PLUS = "+"  # names of columns, as text=title+body
_BETWEEN_IMAGES = re.compile(r"\s*[;|,]\s*|\s+")


class Tally(Counter[tuple[str, str]]):
    """Counts what was read otherwise than it is written, by kind and detail."""

    def notes(self) -> list[str]:
        """One line a kind, with its most frequent details."""
        lines = []
        for kind in dict.fromkeys(kind for kind, _ in self):
            counts = Counter({detail: count for (other, detail), count in self.items() if other == kind})
            details = [f"{detail}: {count}" for detail, count in counts.most_common(5) if detail]
            more = ["…"] if len(counts) > 5 else []
            lines.append(f"{kind}: {counts.total()}" + (f" ({', '.join([*details, *more])})" if details else ""))
        return lines


def read_cell(name: str, value: Any, tally: Tally) -> str | None:
    """The cell of a canonical column as text; None where it is missing.

    A list of words is a text, a list of one label that label. Raises ValueError for any other list, for an object, and
    for half a surrogate pair, which no file can store.
    """
    if isinstance(value, str) and name == "label":
        value = _read_list(value)
    if isinstance(value, list):
        value = _one_of(name, value, tally)
    cell = _scalar(value)
    if name in ("id", "text"):
        missing = not cell
        if name == "text" and cell and is_missing(cell):
            tally[
                "texts that stand for no value, used as they are; empty those cells if none is meant", repr(cell)
            ] += 1
    elif (missing := is_missing(cell)) and cell:
        count_missing(name, cell, tally)
    if name != "text" and not cell.isascii() and _SURROGATE.search(cell):
        raise ValueError(f"{name} {cell!r} holds half of a surrogate pair; write the whole character")
    return None if missing else cell


def read_images(value: Any, tally: Tally) -> tuple[list[str | Blob], list[str]]:
    """The images of a cell, the paths of one or of a list or where else they are; and the faults of those left out."""
    value = _read_list(value) if isinstance(value, str) else value
    found: list[str | Blob] = []
    faults = []
    for one in value if isinstance(value, list) else [value]:
        try:
            image = one if isinstance(one, Blob) else read_cell("image", one, tally)
        except ValueError as error:
            faults.append(str(error))
            continue
        found += [] if image is None else [image]
    return found, faults


def split_names(name: str, columns: Collection[str] = ()) -> list[str]:
    """The columns that a choice names: `title+body` is two, unless one column is called that."""
    names = [part.strip() for part in name.split(PLUS)]
    return [name] if name in columns or not all(names) else names


def join_texts(texts: Sequence[str | None], tally: Tally) -> str | None:
    """The texts of one post, one a line; in the first the second takes the place of `$T$`. None where all are missing.

    Two posts about two aspects of one sentence differ by the second line alone (Yu and Jiang, 2019, give BERT sentence
    and aspect as its two segments).
    """
    found = [text for text in texts if text is not None]
    if len(found) > 1 and ASPECT in found[0]:
        found[0] = found[0].replace(ASPECT, found[1])
        tally[f"texts in which the aspect takes the place of {ASPECT}, and is repeated on a line below", ""] += 1
    return "\n".join(found) or None


def is_missing(cell: str) -> bool:
    """Whether a cell, other than an id or a text, stands for no value."""
    return cell.casefold() in MISSING


def known_split(name: str) -> str | None:
    """`train`, `val` or `test` where a word of the name stands for one of them, and no word for another."""
    found = {_SPLIT_WORDS[word] for word in _NO_WORD.split(name.casefold()) if word in _SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def without_split(name: str) -> str:
    """The name up to the word that stands for a split: `multimodal_` of `multimodal_train`."""
    words = re.finditer(r"[^\W\d_]+", name)
    return next((name[: word.start()] for word in words if word[0].casefold() in _SPLIT_WORDS), name)


def split_images(cell: str) -> list[str]:
    """The names of several images in one cell, between commas, semicolons, bars or spaces; else none."""
    names = _BETWEEN_IMAGES.split(cell)
    return names if len(names) > 1 and all(name.lower().endswith(IMAGE_SUFFIXES) for name in names) else []


def count_missing(name: str, cell: str, tally: Tally) -> None:
    """Count a cell of the column `name` that is read as missing."""
    cure = "; rename one that is a class" if name == "label" else ""
    tally[f"{name}s read as missing{cure}", repr(cell)] += 1


def _one_of(name: str, values: list[Any], tally: Tally) -> Any:
    if not values:
        return None
    if name == "text":
        if not any(isinstance(value, str) for value in values):
            raise ValueError(f"the text is a list without words: {shorten(values)}; write the words, or one text")
        text = " ".join(filter(None, map(_scalar, values)))
        tally["texts that are lists of words, joined by spaces", ""] += 1
        return text
    distinct = dict.fromkeys(map(_scalar, values))
    if len(distinct) > 1:
        each = ", or give each a column, see --column label=NAME" if name == "label" else ""
        raise ValueError(
            f"the {name} is a list of {len(distinct)} different values: {shorten(values)}; write one{each}"
        )
    tally[f"{name}s that are lists of one value", ""] += 1
    return values[0]


def _read_list(cell: str) -> Any:
    """The list that pandas or JSON wrote into a cell as text; any other cell as it is."""
    if cell.startswith("[") and cell.endswith("]"):
        for text in (cell, cell.replace("'", '"')):
            try:
                return json.loads(text)
            except (ValueError, RecursionError):
                continue
    return cell


def _scalar(value: Any) -> str:
    """A value of JSON or Parquet as stripped text, '' for null and NaN. Raises ValueError for lists and objects."""
    if isinstance(value, str):
        return value.strip()
    if value is None or value != value:
        return ""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list | dict | bytes | Blob):
        kind = {list: "a list", dict: "an object"}.get(type(value), "binary")
        raise ValueError(f"a cell is {kind}: {shorten(value)}; write a text or a number, or the name of a file")
    return str(value)  # dates and decimals of Parquet
