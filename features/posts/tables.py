"""Reads tables of posts: one, one per split, or in the layouts of ImageFolder, Hateful Memes and WebDataset."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ..blob import Blob
from .cells import SPLITS, Tally, join_texts, known_split, read_cell, read_images
from .collector import PostCollector
from .columns import Table, find_columns, find_further_texts, known_names, note_unread
from .containers.aspects import COLUMNS, is_post, read_aspects
from .directory import TEXT_SUFFIXES
from .folder import Folder, find_by_id
from .labels import UNDECODABLE
from .records import load_json
from .repeats import Row, tell_apart, unite
from .samples import Sample
from .separated import load_separated
from .shards import find_saved, find_shards, load_columnar, load_tar
from .table_files import SplitFile, choose_tables, find_memes, find_metadata, in_order, note_other_tables
from .text import read_lines


def _load_text(file: Path, known: frozenset[str]) -> Table:
    """A text file: four lines a post where it begins with such a post, else rows of cells."""
    lines, notes = read_lines(file)
    if not is_post(lines[: len(COLUMNS)]):
        return load_separated(file, known)
    return Table(COLUMNS, *read_aspects(lines, undecodable=UNDECODABLE), notes)


def _refuse_spreadsheet(file: Path, known: frozenset[str]) -> Table:
    raise ValueError(f"{file} is a spreadsheet; save its sheet as CSV (UTF-8) and give that file")


# Suffix -> how it is read.
LOADERS: dict[str, Callable[[Path, frozenset[str]], Table]] = {
    **dict.fromkeys((".csv", ".tsv"), load_separated),
    ".txt": _load_text,
    **dict.fromkeys((".jsonl", ".json"), load_json),
    **dict.fromkeys((".parquet", ".arrow"), load_columnar),
    ".tar": load_tar,
    **dict.fromkeys((".xlsx", ".xls", ".ods"), _refuse_spreadsheet),
}
# What layouts call the canonical columns.
IMAGEFOLDER_NAMES = {"image": ("file_name", "file_names"), "text": ("caption",)}
MEMES_NAMES = {"image": ("img",)}
SHARD_NAMES = {"text": ("caption",)}


def read_table(path: Path, posts: PostCollector, *, columns: Mapping[str, str]) -> None:
    """One table, or one per split; image paths are relative to it. Rows without an id column are numbered from 1.

    Raises ValueError for several tables of which none is meant.
    """
    files = choose_tables(path, posts)
    _read(files, files[0][0].parent, posts, columns, {})


def read_webdataset(path: Path, posts: PostCollector, *, columns: Mapping[str, str]) -> None:
    """All tar files; the id of a post is the name that its members share, its split that in the name of the file."""
    files = [(file, known_split(file.stem) if path.is_dir() else None) for file in in_order(find_shards(path))]
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
    note_other_tables(path, [file for file, _ in files], posts)
    _read(files, path if path.is_dir() else path.parent, posts, columns, MEMES_NAMES)


@dataclass(frozen=True)
class _Source:
    """A table with its columns found, `further` those of its text after the first.

    `split` is that of posts whose row has none, `prefix` precedes their ids.
    """

    file: Path
    shown: str
    table: Table
    columns: Mapping[str, int]
    further: Sequence[int]
    split: str | None
    prefix: str
    folder: Folder
    by_image: bool


def _read(
    files: Sequence[SplitFile],
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
        further = find_further_texts(str(file), table, asked, all_columns)
        source = _Source(file, shown, table, columns, further, split, prefix, folders[file.parent], by_image)
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
                if name == "text" and source.further:
                    texts = (read_cell(name, row.get(one), tally) for one in (column, *source.further))
                    cells[name] = join_texts([*texts], tally)
                elif name != "image":
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
