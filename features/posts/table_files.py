"""Which files hold the posts of a data set: one table, one per split, or those that a pattern names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from .cells import SPLITS, known_split, without_split
from .collector import PostCollector
from .directory import is_leftover
from .shards import are_parts, find_shards

GROUPS = ((".csv", ".tsv", ".jsonl"), (".parquet",), (".arrow",), (".json",), (".xlsx", ".xls", ".ods"))
# In a folder the tables of the first of these groups that has one, and no .txt.
SUFFIXES = frozenset({".txt", ".tar", *(suffix for group in GROUPS for suffix in group)})

SplitFile = tuple[Path, str | None]  # a table, and the split of its posts


def is_pattern(path: Path) -> bool:
    """Whether a path that is no file names several: `task_damage_*.tsv`."""
    return "*" in path.name and not path.exists()


def find_tables(path: Path) -> list[Path]:
    """The file itself, or the tables directly in the folder; among several, only `posts.*` if there is one.

    Of a pattern, all tables that it names.
    """
    if is_pattern(path):
        found = [p for p in _visible(path.parent) if fnmatch(p.name, path.name)] if path.parent.is_dir() else []
        return [p for p in found if p.suffix.lower() in SUFFIXES]
    if path.is_file():
        return [path] if path.suffix.lower() in SUFFIXES and not find_shards(path) else []
    files = _visible(path)
    groups = [[p for p in files if p.suffix.lower() in suffixes] for suffixes in GROUPS]
    posts = [[p for p in group if p.stem.lower() == "posts"] for group in groups]
    return next(filter(None, [*posts, *groups]), [])


def choose_tables(path: Path, posts: PostCollector) -> list[SplitFile]:
    """The tables of `find_tables`, in the order of their splits, each with its own; those that are left out are noted.

    Those of a pattern may have no split. Raises ValueError for other tables of which not at least two are splits, and
    for the splits of several data sets.
    """
    tables = find_tables(path)
    note_other_tables(path, tables, posts)
    if len(tables) == 1:
        return [(tables[0], None)]
    splits = {file: known_split(file.stem) for file in in_order(tables)}
    if is_pattern(path):
        return list(splits.items())
    if are_parts(tables):
        return [(file, None) for file in splits]
    if len(sets := {without_split(file.stem): file for file, split in splits.items() if split == "train"}) > 1:
        patterns = [repr(str(path / f"{name}*{file.suffix}")) for name, file in sets.items()]
        raise ValueError(f"{path} holds the splits of several data sets; name one, as {' or '.join(patterns)}")
    if len(set(splits.values()) - {None}) < 2:
        raise ValueError(
            f"{path} holds several tables ({', '.join(t.name for t in tables)}); "
            "name the one to read, call it posts.csv, or call them train, val and test"
        )
    if others := [file.name for file, split in splits.items() if split is None]:
        posts.notes.append(f"left out, as their names tell no split: {', '.join(others)}")
    return [(file, split) for file, split in splits.items() if split]


def note_other_tables(path: Path, tables: Sequence[Path], posts: PostCollector) -> None:
    """Note the tables of a folder that are not read, as they are no posts.* or of another format."""
    suffixes = SUFFIXES - {".txt"}
    others = (
        [p.name for p in _visible(path) if p.suffix.lower() in suffixes and p not in tables] if path.is_dir() else []
    )
    if others:
        posts.notes.append(f"not read beside {', '.join(p.name for p in tables)}: {', '.join(others)}")


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
        files = [p for p in path.glob("*.jsonl") if known_split(p.stem) and p.name[0] != "." and p.is_file()]
    return in_order(files) if any("img" in _first_keys(file) for file in files) else []


def in_order(files: Sequence[Path]) -> list[Path]:
    """Files by the split in their names, then by name."""
    return sorted(files, key=lambda file: (_rank(file.stem), file.name))


def _visible(path: Path) -> list[Path]:
    files = (p for p in path.iterdir() if not p.name.startswith((".", "~$")) and not is_leftover(p.name))
    return sorted(p for p in files if p.is_file())


def _first_keys(file: Path) -> Iterator[str]:
    """The keys of the first record of a JSON lines file; none for any other file."""
    try:
        with file.open("rb") as stream:
            first = next((line for line in stream if line.strip()), b"")
        record = json.loads(first.removeprefix(b"\xef\xbb\xbf"))
    except (OSError, ValueError, RecursionError):
        return iter(())
    return iter(record if isinstance(record, dict) else ())


def _rank(name: str) -> int:
    """The place of a split: train, val, test, then any other name."""
    return SPLITS.index(split) if (split := known_split(name)) else len(SPLITS)
