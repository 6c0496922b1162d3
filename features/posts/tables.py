"""Tables of posts: CSV, TSV and JSON lines, plain or as Hugging Face ImageFolder and Hateful Memes lay them out."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .folder import Folder, PostCollector
from .labels import UNDECODABLE
from .samples import Sample
from .text import read_lines

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
CANONICAL = ("id", "image", "text", "label", "split", "group")

# What each layout calls the canonical columns, besides the canonical name itself; the first one present is taken.
TABLE_NAMES: Mapping[str, tuple[str, ...]] = {}
IMAGEFOLDER_NAMES: Mapping[str, tuple[str, ...]] = {"image": ("file_name",), "text": ("caption",)}
MEMES_NAMES: Mapping[str, tuple[str, ...]] = {"image": ("img",)}

# One name per split, whatever a data set calls it; any other name is kept.
SPLITS = {
    "training": "train",
    "dev": "val",
    "valid": "val",
    "validation": "val",
    "eval": "val",
    "testing": "test",
}


@dataclass(frozen=True)
class Table:
    """The file's column names and its rows: line number (1-based) and cells, stripped, empty ones left out."""

    columns: Sequence[str]
    rows: Sequence[tuple[int, Mapping[str, str]]]


def find_tables(path: Path) -> list[Path]:
    """The file itself, or the tables that lie directly in the folder; a `posts.*` among several is the one."""
    if path.is_file():
        return [path] if path.suffix.lower() in TABLE_SUFFIXES else []
    tables = sorted(p for p in path.iterdir() if p.suffix.lower() in TABLE_SUFFIXES and p.is_file())
    return [p for p in tables if p.stem.lower() == "posts"] or tables


def find_metadata(path: Path) -> list[Path]:
    """The `metadata.csv` or `.jsonl` of the folder and of its direct sub-folders, train and val before test."""
    if not path.is_dir():
        return []
    order = ["", "train", "val", "test"]
    folders = [path, *(child for child in path.iterdir() if child.is_dir())]

    def rank(folder: Path) -> tuple[int, str]:
        name = "" if folder == path else split_name(folder.name)
        return (order.index(name) if name in order else len(order)), folder.name

    files = [f / name for f in sorted(folders, key=rank) for name in ("metadata.csv", "metadata.jsonl")]
    return [file for file in files if file.is_file()]


def find_memes(path: Path) -> list[Path]:
    """JSON lines files of memes: the file itself, or `train`, `dev` and `test` (also `dev_seen` …) in the folder."""
    if path.is_file():
        files = [path] if path.suffix.lower() == ".jsonl" else []
    else:
        order = ["train", "val", "test"]
        named = {p: _known_split(p.stem.split("_")[0]) for p in sorted(path.glob("*.jsonl"))}
        files = sorted((p for p in named if named[p] in order), key=lambda p: order.index(str(named[p])))
    return files if any("img" in _first_keys(file) for file in files) else []


def read_table(path: Path, posts: PostCollector, *, columns: Mapping[str, str]) -> None:
    """One table; image paths are relative to it. Rows without an id column are numbered from 1."""
    tables = find_tables(path)
    if len(tables) != 1:
        raise ValueError(
            f"{path} holds several tables ({', '.join(t.name for t in tables)}); "
            "name the one to read, or call it posts.csv"
        )
    _read(tables[0], tables[0].parent, posts, _Naming(columns, TABLE_NAMES))


def read_imagefolder(path: Path, posts: PostCollector, *, columns: Mapping[str, str]) -> None:
    """Every metadata file; the id of a post is its `file_name` below the root, its split the name of the sub-folder."""
    for file in find_metadata(path):
        split = None if file.parent == path else _known_split(file.parent.name)
        _read(file, path, posts, _Naming(columns, IMAGEFOLDER_NAMES), split=split, by_image=True)


def read_memes(path: Path, posts: PostCollector, *, columns: Mapping[str, str]) -> None:
    """Every JSON lines file of the data set; its split is the file's name."""
    for file in find_memes(path):
        _read(file, file.parent, posts, _Naming(columns, MEMES_NAMES), split=_known_split(file.stem.split("_")[0]))


def split_name(name: str) -> str:
    """`name` in the one spelling of its split: dev, valid, validation and eval are val, test_seen is test."""
    stem = re.split(r"[_-]", name.strip().lower())[0]
    return SPLITS.get(stem, stem if stem in SPLITS.values() else name)


@dataclass(frozen=True)
class _Naming:
    """Which column plays which part: as the user says, else by its own name, else as the layout calls it."""

    asked: Mapping[str, str]
    usual: Mapping[str, tuple[str, ...]]

    def resolve(self, columns: Sequence[str], file: Path) -> dict[str, str]:
        """Canonical name to the file's column; ValueError when there is neither image nor text."""
        spelled = {column.casefold(): column for column in reversed(columns)}
        found: dict[str, str] = {}
        for canonical in CANONICAL:
            if canonical in self.asked:
                found[canonical] = self._asked(canonical, columns, file)
                continue
            names = (canonical, *self.usual.get(canonical, ()))
            present = [spelled[name] for name in names if name in spelled]
            found |= {canonical: present[0]} if present else {}
        if "image" not in found and "text" not in found:
            raise ValueError(
                f"{file} has no column for the image or the text, only {_shown(columns) or 'none'}; "
                "say which column is which (columns: image, text)"
            )
        return found

    def _asked(self, canonical: str, columns: Sequence[str], file: Path) -> str:
        name = self.asked[canonical]
        if name not in columns:
            near = get_close_matches(name, columns) or list(columns)
            raise ValueError(f"{file} has no column {name!r} for {canonical}; did you mean {_shown(near)}?")
        return name


def _shown(columns: Sequence[str]) -> str:
    """Column names for a message of one line: long or unprintable ones are quoted, many are cut short."""
    names = [name if name.isprintable() and len(name) <= 40 else repr(name[:40]) for name in columns[:20]]
    return ", ".join([*names, "…"] if len(columns) > 20 else names)


def _read(
    file: Path, root: Path, posts: PostCollector, naming: _Naming, *, split: str | None = None, by_image: bool = False
) -> None:
    shown = file.relative_to(root).as_posix()
    load = _load_json_lines if file.suffix.lower() == ".jsonl" else _load_separated
    table = load(file, shown, posts)
    column = naming.resolve(table.columns, file)
    folder = Folder(file.parent)
    prefix = "" if file.parent == root else f"{file.parent.relative_to(root).as_posix()}/"
    for number, (line, row) in enumerate(table.rows, start=1):
        cells = {canonical: row[name] for canonical, name in column.items() if name in row}
        if "id" in column:
            id = cells.get("id")
        elif by_image and "image" in cells:
            id = prefix + cells["image"]
        else:
            id = f"{prefix}{number}"
        if id is None:
            posts.report(shown, line, "the id is empty")
            continue
        try:
            image = folder.find(cells["image"]) if "image" in cells else None
        except ValueError as error:
            posts.report(shown, line, f"image refused: {error}")
            continue
        if not posts.claim(id, shown, line):
            continue
        if image is None and "image" in cells:
            posts.report(shown, line, f"image {cells['image']!r} does not exist")
        part = split
        if "split" in cells:
            part = split_name(cells["split"])
        elif split is None and by_image and "image" in cells:
            part = _known_split(cells["image"].partition("/")[0])
        posts.add(Sample(id, image, cells.get("text"), cells.get("label"), part, cells.get("group")), shown, line)


def _load_separated(file: Path, shown: str, posts: PostCollector) -> Table:
    lines = read_lines(file)
    undecodable = [number for number, text in enumerate(lines, start=1) if text is None]
    reader = csv.reader(
        ((text or "") + "\n" for text in lines),
        delimiter="\t" if file.suffix.lower() == ".tsv" else ",",
        strict=True,
        skipinitialspace=True,
    )
    columns: list[str] = []
    rows: list[tuple[int, Mapping[str, str]]] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return Table(columns, rows)
        except csv.Error as error:
            posts.report(shown, line, f"not a row of a table: {error}")
            continue
        if any(line <= number <= reader.line_num for number in undecodable):
            posts.report(shown, line, UNDECODABLE)
        elif not any(cells):
            continue
        elif not columns:
            columns = cells
        elif len(cells) != len(columns):
            posts.report(shown, line, f"{len(cells)} fields, but the header has {len(columns)}")
        else:
            rows.append((line, {name: cell for name, cell in zip(columns, cells, strict=True) if cell}))


def _load_json_lines(file: Path, shown: str, posts: PostCollector) -> Table:
    columns: dict[str, None] = {}
    rows: list[tuple[int, Mapping[str, str]]] = []
    for line, text in enumerate(read_lines(file), start=1):
        if text is None:
            posts.report(shown, line, UNDECODABLE)
        elif text.strip():
            try:
                cells = _flat(json.loads(text))
            except (ValueError, RecursionError) as error:
                posts.report(shown, line, f"not one JSON object: {error}")
                continue
            columns |= dict.fromkeys(cells)
            rows.append((line, {name: cell for name, cell in cells.items() if cell}))
    return Table(list(columns), rows)


def _flat(record: Any) -> dict[str, str]:
    """The object's cells as stripped strings, '' for null; values that are lists or objects are left out."""
    if not isinstance(record, dict):
        raise ValueError(f"a JSON {type(record).__name__}")
    cells: dict[str, str] = {}
    for name, value in record.items():
        if value is None or (isinstance(value, float) and math.isnan(value)):
            cells[name.strip()] = ""
        elif isinstance(value, str):
            cells[name.strip()] = value.strip()
        elif isinstance(value, int | float):
            cells[name.strip()] = json.dumps(value)
    return cells


def _first_keys(file: Path) -> Iterator[str]:
    """The keys of the first record of a JSON lines file; none when it is not one."""
    try:
        with file.open("rb") as stream:
            first = next((line for line in stream if line.strip()), b"")
        record = json.loads(first.removeprefix(b"\xef\xbb\xbf"))
    except (OSError, ValueError, RecursionError):
        return iter(())
    return iter(record if isinstance(record, dict) else ())


def _known_split(name: str) -> str | None:
    return split_name(name) if split_name(name) in SPLITS.values() else None
