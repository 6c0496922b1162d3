"""Reads tables of posts: one, one per split, or in the layouts of ImageFolder, Hateful Memes and WebDataset."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ..blob import Blob
from .cells import SPLITS, Tally, known_split, read_cell, read_images
from .collector import PostCollector
from .columns import Table, find_columns, known_names, note_unread
from .directory import TEXT_SUFFIXES, is_leftover
from .folder import Folder, find_by_id
from .records import load_json
from .repeats import Row, tell_apart, unite
from .samples import Sample
from .separated import load_separated
from .shards import are_parts, find_saved, find_shards, load_columnar, load_tar


def _refuse_spreadsheet(file: Path, known: frozenset[str]) -> Table:
    raise ValueError(f"{file} is a spreadsheet; save its sheet as CSV (UTF-8) and give that file")


# Suffix -> how it is read; in a folder, the tables of the first of these groups that has one, and no .txt.
LOADERS: dict[str, Callable[[Path, frozenset[str]], Table]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), load_separated),
    **dict.fromkeys((".jsonl", ".json"), load_json),
    **dict.fromkeys((".parquet", ".arrow"), load_columnar),
    ".tar": load_tar,
    **dict.fromkeys((".xlsx", ".xls", ".ods"), _refuse_spreadsheet),
}
GROUPS = ((".csv", ".tsv", ".jsonl"), (".parquet",), (".arrow",), (".json",), (".xlsx", ".xls", ".ods"))

# What layouts call the canonical columns.
IMAGEFOLDER_NAMES = {"image": ("file_name", "file_names"), "text": ("caption",)}
MEMES_NAMES = {"image": ("img",)}
SHARD_NAMES = {"text": ("caption",)}


def find_tables(path: Path) -> list[Path]:
    """The file itself, or the tables directly in the folder; among several, only `posts.*` if there is one."""
    if path.is_file():
        return [path] if path.suffix.lower() in LOADERS and not find_shards(path) else []
    files = _visible(path)
    groups = [[p for p in files if p.suffix.lower() in suffixes] for suffixes in GROUPS]
    posts = [[p for p in group if p.stem.lower() == "posts"] for group in groups]
    return next(filter(None, [*posts, *groups]), [])


def _note_other_tables(path: Path, tables: Sequence[Path], posts: PostCollector) -> None:
    """Note the tables of a folder that are not read, as they are no posts.* or of another format."""
    suffixes = {".tar", *(suffix for group in GROUPS for suffix in group)}
    others = (
        [p.name for p in _visible(path) if p.suffix.lower() in suffixes and p not in tables] if path.is_dir() else []
    )
    if others:
        posts.notes.append(f"not read beside {', '.join(p.name for p in tables)}: {', '.join(others)}")


def _visible(path: Path) -> list[Path]:
    files = (p for p in path.iterdir() if not p.name.startswith((".", "~$")) and not is_leftover(p.name))
    return sorted(p for p in files if p.is_file())


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
    return _in_order(files) if any("img" in _first_keys(file) for file in files) else []


def read_table(path: Path, posts: PostCollector, *, columns: Mapping[str, str]) -> None:
    """One table, or one per split; image paths are relative to it. Rows without an id column are numbered from 1.

    Raises ValueError for several tables of which none is meant.
    """
    tables = find_tables(path)
    _note_other_tables(path, tables, posts)
    if len(tables) == 1:
        _read([(tables[0], None)], tables[0].parent, posts, columns, {})
        return
    splits = {file: known_split(file.stem) for file in _in_order(tables)}
    if are_parts(tables):
        _read([(file, None) for file in splits], path, posts, columns, {})
        return
    if len(set(splits.values()) - {None}) < 2:
        raise ValueError(
            f"{path} holds several tables ({', '.join(t.name for t in tables)}); "
            "name the one to read, call it posts.csv, or call them train, val and test"
        )
    if others := [file.name for file, split in splits.items() if split is None]:
        posts.notes.append(f"left out, as their names tell no split: {', '.join(others)}")
    _read([(file, split) for file, split in splits.items() if split], path, posts, columns, {})


def read_webdataset(path: Path, posts: PostCollector, *, columns: Mapping[str, str]) -> None:
    """All tar files; the id of a post is the name that its members share, its split that in the name of the file."""
    files = [(file, known_split(file.stem) if path.is_dir() else None) for file in _in_order(find_shards(path))]
    _read(files, path if path.is_dir() else path.parent, posts, columns, SHARD_NAMES)


def read_saved(path: Path, posts: PostCollector, *, columns: Mapping[str, str]) -> None:
    """What `datasets` saved in a folder; rows without an id column are numbered from 1 in each file."""
    _read(find_saved(path), path, posts, columns, {})


def read_imagefolder(path: Path, posts: PostCollector, *, columns: Mapping[str, str]) -> None:
    """All metadata files; the id of a post is its `file_name` below the root, its split the name of the sub-folder."""
    files = [(file, None if file.parent == path else known_split(file.parent.name)) for file in find_metadata(path)]
    _read(files, path, posts, columns, IMAGEFOLDER_NAMES, by_image=True)


def read_memes(path: Path, posts: PostCollector, *, columns: Mapping[str, str]) -> None:
    """All JSON lines files of the data set; the split is the name of the file."""
    files = [(file, known_split(file.stem)) for file in find_memes(path)]
    _note_other_tables(path, [file for file, _ in files], posts)
    _read(files, path if path.is_dir() else path.parent, posts, columns, MEMES_NAMES)


@dataclass(frozen=True)
class _Source:
    """A table with its columns found; `split` is that of posts whose row has none, `prefix` precedes their ids."""

    file: Path
    shown: str
    table: Table
    columns: Mapping[str, int]
    split: str | None
    prefix: str
    folder: Folder
    by_image: bool


def _read(
    files: Sequence[tuple[Path, str | None]],
    root: Path,
    posts: PostCollector,
    asked: Mapping[str, str],
    usual: Mapping[str, Sequence[str]],
    *,
    by_image: bool = False,
) -> None:
    """Read the tables of one data set, each with its split; the posts that several of them hold are used once."""
    known = known_names(asked, usual)
    loaded = [(file, split, LOADERS[file.suffix.lower()](file, known)) for file, split in files]
    all_columns = {name for *_, table in loaded for name in table.columns} if len(loaded) > 1 else set()
    found = [find_columns(str(file), table, asked, usual, all_columns) for file, _, table in loaded]
    nowhere = {"label"}.difference(*found)  # the table of a test set may lack it
    folders = {file.parent: posts.image_folder(file.parent) for file, _ in files}
    tally = Tally()
    rows: list[Row] = []
    for (file, split, table), columns in zip(loaded, found, strict=True):
        shown = file.relative_to(root).as_posix()
        notes = [*table.notes, *note_unread(table, columns, ["text", *nowhere])]
        if not table.rows:
            notes.append("no row could be read" if table.problems else "no rows below the header")
        posts.notes.extend(f"{shown}: {note}" for note in notes)
        below = "" if file.parent == root else f"{file.parent.relative_to(root).as_posix()}/"
        prefix = f"{below}{file.stem}/" if len(files) > 1 and not by_image and "id" not in columns else below
        source = _Source(file, shown, table, columns, split, prefix, folders[file.parent], by_image)
        rows.extend(_read_rows(source, posts, tally))
    for folder in folders.values():
        posts.note_files(folder)
    if by_image:
        images = {image for folder in folders.values() for image in folder.images()}
        if unlisted := images.difference(image for row in rows for image in row.sample.images):
            posts.notes.append(f"{len(unlisted)} images are in no metadata file and are left out")
    if rows and not any("image" in columns for columns in found):
        _note_images_by_id(rows[0].sample.id, loaded[0][2].columns, found[0].get("id"), root, posts)
    for row in unite(tell_apart(rows, tally), posts, tally):
        posts.add(row.sample, row.file, row.line)
    posts.notes.extend(tally.notes())


def _note_images_by_id(id: str, columns: Sequence[str], number: int | None, root: Path, posts: PostCollector) -> None:
    """Note a folder of images whose names are the ids of a table that names none, or that --images is not used."""
    place = None if number is None else find_by_id(id, root, posts.images)
    if place and number is not None:
        options = f"--column image={shlex.quote(columns[number])} --images {shlex.quote(str(place))}"
        posts.notes.append(f"no column is read as the image, though images are named by id: {options}")
    elif posts.images:
        posts.notes.append("no column is read as the image, so that --images is not used; --column image=NAME names it")


def _read_rows(source: _Source, posts: PostCollector, tally: Tally) -> Iterator[Row]:
    """The posts of a table; what cannot be read is reported, and costs a row only where it is the id."""
    shown, stem, folder = source.shown, source.file.stem, source.folder
    unknown: dict[str, list[int]] = {}  # split that is none of SPLITS -> its lines
    for line, reason in source.table.problems:
        posts.report(shown, line, reason)
    for number, (line, row) in enumerate(source.table.rows, start=1):
        cells: dict[str, str | None] = dict.fromkeys(source.columns)
        named: list[str | Blob] = []
        faults: dict[str, list[str]] = {}
        for name, column in source.columns.items():
            try:
                if name != "image":
                    cells[name] = read_cell(name, row.get(column), tally)
                else:
                    named, faults[name] = read_images(row.get(column), tally)
                    cells[name] = next((one for one in named if isinstance(one, str)), None)
            except ValueError as error:
                faults[name] = [str(error)]
        id = cells["id"] if "id" in cells else (source.by_image and cells.get("image")) or str(number)
        if id is None:
            posts.report(shown, line, *faults.get("id", ["the id is empty"]))
            continue
        for fault in chain(*faults.values()):
            posts.report(shown, line, fault)
        images = posts.find_images(folder, named, shown, line)
        split = _read_split(source, cells, tally)
        if split is not None and split not in SPLITS:
            unknown.setdefault(split, []).append(line)
        id = id if "id" in cells else source.prefix + id
        text = _find_text(folder, cells.get("text"), tally)
        first, further = images[0] if images else None, tuple(images[1:])
        sample = Sample(id, first, text, cells.get("label"), split, cells.get("group"), further)
        yield Row(shown, line, stem, sample)
    if unknown:
        names = [f"{name!r} ({len(lines)} posts)" for name, lines in list(unknown.items())[:5]]
        more = ", …" if len(unknown) > 5 else ""
        wanted = "a split is one of train, val, test, or an empty cell; rename it in the file"
        posts.report(shown, min(map(min, unknown.values())), f"splits {', '.join(names)}{more}: {wanted}")


def _find_text(folder: Folder, cell: str | None, tally: Tally) -> Path | str | None:
    """A text, or its file where the cell is the path of one."""
    if cell is None or not cell.lower().endswith(TEXT_SUFFIXES) or len(cell.split()) > 1:
        return cell
    found: list[Path] = []
    with suppress(ValueError):
        found = folder.candidates(cell.rpartition(".")[0], TEXT_SUFFIXES)
    if len(found) == 1:
        tally["texts read from the files that their cells name", ""] += 1
        return found[0]
    tally["texts that are the name of a file, which does not exist", repr(cell)] += 1
    return cell


def _read_split(source: _Source, cells: Mapping[str, str | None], tally: Tally) -> str | None:
    """The split of a row: its cell, else that of its file, else in an ImageFolder that of the image's folder."""
    named, image = cells.get("split"), cells.get("image")
    if named is not None:
        if (split := known_split(named)) and split != named.casefold():
            tally["splits by another name", f"{named!r} as {split}"] += 1
        return split or named
    if source.split is None and source.by_image and image is not None:
        return known_split(image.partition("/")[0])
    return source.split


def _first_keys(file: Path) -> Iterator[str]:
    """The keys of the first record of a JSON lines file; none for any other file."""
    try:
        with file.open("rb") as stream:
            first = next((line for line in stream if line.strip()), b"")
        record = json.loads(first.removeprefix(b"\xef\xbb\xbf"))
    except (OSError, ValueError, RecursionError):
        return iter(())
    return iter(record if isinstance(record, dict) else ())


def _in_order(files: Sequence[Path]) -> list[Path]:
    return sorted(files, key=lambda file: (_rank(file.stem), file.name))


def _rank(name: str) -> int:
    """The place of a split: train, val, test, then any other name."""
    return SPLITS.index(split) if (split := known_split(name)) else len(SPLITS)
