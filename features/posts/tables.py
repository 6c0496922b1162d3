"""Reads tables of posts: CSV, TSV and JSON lines, plain or in the layouts of ImageFolder and Hateful Memes."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .collector import PostCollector
from .directory import is_leftover
from .labels import UNDECODABLE
from .samples import Sample

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
CANONICAL = ("id", "image", "text", "label", "split", "group")

# What two layouts call the canonical columns.
IMAGEFOLDER_NAMES = {"image": "file_name", "text": "caption"}
MEMES_NAMES = {"image": "img"}

# Other names of the splits; any other name is kept.
SPLITS = {"training": "train", "dev": "val", "valid": "val", "validation": "val", "eval": "val", "testing": "test"}


# The column names, and the rows: line number (1-based) and cells, stripped, empty ones left out.
Table = tuple[Sequence[str], Sequence[tuple[int, Mapping[str, str]]]]


def find_tables(path: Path) -> list[Path]:
    """The file itself, or the tables directly in the folder; among several, only `posts.*` if there is one."""
    if path.is_file():
        return [path] if path.suffix.lower() in TABLE_SUFFIXES else []
    found = (p for p in path.iterdir() if p.suffix.lower() in TABLE_SUFFIXES and p.is_file())
    tables = sorted(p for p in found if not is_leftover(p.name))
    return [p for p in tables if p.stem.lower() == "posts"] or tables


def find_metadata(path: Path) -> list[Path]:
    """The `metadata.csv` or `.jsonl` of the folder and of its direct sub-folders, train and val before test."""
    if not path.is_dir():
        return []
    folders = sorted(
        (child for child in path.iterdir() if child.is_dir() and not is_leftover(child.name)),
        key=lambda f: (_rank(f.name), f.name),
    )
    files = [f / name for f in (path, *folders) for name in ("metadata.csv", "metadata.jsonl")]
    return [file for file in files if file.is_file()]


def find_memes(path: Path) -> list[Path]:
    """JSON lines files of memes: the file itself, or `train`, `dev` and `test` (also `dev_seen` …) in the folder."""
    if path.is_file():
        files = [path] if path.suffix.lower() == ".jsonl" else []
    else:
        files = sorted(sorted(p for p in path.glob("*.jsonl") if _known_split(p.stem)), key=lambda p: _rank(p.stem))
    return files if any("img" in _first_keys(file) for file in files) else []


def read_table(path: Path, posts: PostCollector, *, columns: Mapping[str, str]) -> None:
    """One table; image paths are relative to it. Rows without an id column are numbered from 1."""
    tables = find_tables(path)
    if len(tables) != 1:
        raise ValueError(
            f"{path} holds several tables ({', '.join(t.name for t in tables)}); "
            "name the one to read, or call it posts.csv"
        )
    _read(tables[0], tables[0].parent, posts, columns, {})


def read_imagefolder(path: Path, posts: PostCollector, *, columns: Mapping[str, str]) -> None:
    """All metadata files; the id of a post is its `file_name` below the root, its split the name of the sub-folder."""
    for file in find_metadata(path):
        split = None if file.parent == path else _known_split(file.parent.name)
        _read(file, path, posts, columns, IMAGEFOLDER_NAMES, split=split, by_image=True)


def read_memes(path: Path, posts: PostCollector, *, columns: Mapping[str, str]) -> None:
    """All JSON lines files of the data set; the split is the name of the file."""
    for file in find_memes(path):
        _read(file, file.parent, posts, columns, MEMES_NAMES, split=_known_split(file.stem))


def split_name(name: str) -> str:
    """The canonical name of a split: dev, valid, validation and eval are val, test_seen is test."""
    stem = re.split(r"[_-]", name.strip().lower())[0]
    return SPLITS.get(stem, stem if stem in SPLITS.values() else name)


def _find_columns(
    file: Path, columns: Sequence[str], asked: Mapping[str, str], usual: Mapping[str, str]
) -> dict[str, str]:
    """Canonical name -> the file's column: the user's choice, else one of that name, else the layout's name for it.

    Raises ValueError for a choice that is absent, and where there is neither image nor text.
    """
    spelled = {column.casefold(): column for column in reversed(columns)}
    found: dict[str, str] = {}
    for canonical in CANONICAL:
        names = [name for name in (canonical, usual.get(canonical)) if name in spelled]
        if canonical in asked:
            found[canonical] = name = asked[canonical]
            if name not in columns:
                near = get_close_matches(name, columns) or list(columns)
                raise ValueError(f"{file} has no column {name!r} for {canonical}; did you mean {_listed(near)}?")
        elif names:
            found[canonical] = spelled[names[0]]
    if "image" not in found and "text" not in found:
        raise ValueError(
            f"{file} has no column for the image or the text, only {_listed(columns) or 'none'}; "
            "name them with --column image=NAME or --column text=NAME"
        )
    return found


def _listed(columns: Sequence[str]) -> str:
    """Column names for a message of one line; long and unprintable names are quoted, long lists are cut."""
    names = [name if name.isprintable() and len(name) <= 40 else repr(name[:40]) for name in columns[:20]]
    return ", ".join([*names, "…"] if len(columns) > 20 else names)


def _read(
    file: Path,
    root: Path,
    posts: PostCollector,
    asked: Mapping[str, str],
    usual: Mapping[str, str],
    *,
    split: str | None = None,
    by_image: bool = False,
) -> None:
    shown = file.relative_to(root).as_posix()
    load = _load_json_lines if file.suffix.lower() == ".jsonl" else _load_separated
    columns, rows = load(file, shown, posts)
    column = _find_columns(file, columns, asked, usual)
    folder = posts.image_folder(file.parent)
    prefix = "" if file.parent == root else f"{file.parent.relative_to(root).as_posix()}/"
    for number, (line, row) in enumerate(rows, start=1):
        cells = {canonical: row[name] for canonical, name in column.items() if name in row}
        if "id" in column:
            id = cells.get("id")
        else:
            id = prefix + (cells.get("image", str(number)) if by_image else str(number))
        if id is None:
            posts.report(shown, line, "the id is empty")
            continue
        if not posts.claim(id, shown, line):
            continue
        image = posts.find_image(folder, cells["image"], shown, line) if "image" in cells else None
        part = split
        if "split" in cells:
            part = split_name(cells["split"])
        elif split is None and by_image and "image" in cells:
            part = _known_split(cells["image"].partition("/")[0])
        posts.add(Sample(id, image, cells.get("text"), cells.get("label"), part, cells.get("group")), shown, line)
    posts.note_files(folder)


def _load_separated(file: Path, shown: str, posts: PostCollector) -> Table:
    lines = posts.lines(file)
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
            return columns, rows
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
    for line, text in enumerate(posts.lines(file), start=1):
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
    return list(columns), rows


def _flat(record: Any) -> dict[str, str]:
    """The cells of an object as stripped strings, '' for null; lists and objects are left out."""
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
    """The keys of the first record of a JSON lines file; none for any other file."""
    try:
        with file.open("rb") as stream:
            first = next((line for line in stream if line.strip()), b"")
        record = json.loads(first.removeprefix(b"\xef\xbb\xbf"))
    except (OSError, ValueError, RecursionError):
        return iter(())
    return iter(record if isinstance(record, dict) else ())


def _known_split(name: str) -> str | None:
    return split_name(name) if split_name(name) in SPLITS.values() else None


def _rank(name: str) -> int:
    """The place of a split: train, val, test, then any other name."""
    return {"train": 0, "val": 1, "test": 2}.get(split_name(name), 3)
