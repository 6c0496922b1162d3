"""Tables that hold their images themselves: Parquet, Arrow as `datasets` saves it, and tar files as of WebDataset."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, overload

from ..blob import Blob
from ..messages import first_line
from ..regular_files import regular
from ..spec import BadItem
from .cells import known_split
from .columns import Table
from .containers.columnar import Cell, Columnar, open_columnar
from .containers.tar import Member, list_members
from .directory import IMAGE_SUFFIXES, is_leftover
from .samples import MAX_MEGABYTES
from .text import decode_text

FIRST = 100  # rows of which all columns are read, to find those that may be meant
SPLITS_FILE, STATE_FILE = "dataset_dict.json", "state.json"  # that `save_to_disk` writes
FIELDS = {**dict.fromkeys(IMAGE_SUFFIXES, "image"), ".txt": "text", ".text": "text", ".cls": "label"}

PARTS = (".parquet", ".arrow")  # of one table, with numbers or UUIDs in their names
_PART = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]+")

NumberedRow = tuple[int, Mapping[int, Any]]


def load_columnar(file: Path, known: frozenset[str]) -> Table:
    """A Parquet or Arrow file, its rows numbered from 1 and read as they are iterated over, only `known` columns.

    A cell with an image is a Blob. Raises ValueError where it is damaged.
    """
    opened = open_columnar(file)
    return Table(opened.schema.names, ColumnarRows(opened, known))


class ColumnarRows(Sequence[NumberedRow]):
    """The rows of a Parquet or Arrow file, read from it each time; the first ones, as a slice, with all columns."""

    def __init__(self, opened: Columnar, known: frozenset[str]) -> None:
        self.opened = opened
        names = list(enumerate(opened.schema.names))
        self.wanted = [name for number, name in names if {name.strip().casefold(), f"#{number + 1}"} & known]

    def __len__(self) -> int:
        return self.opened.rows

    @overload
    def __getitem__(self, at: int) -> NumberedRow: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[NumberedRow]: ...
    def __getitem__(self, at: int | slice) -> NumberedRow | Sequence[NumberedRow]:
        stop = at.stop if isinstance(at, slice) else at + 1
        if stop is None or not 0 <= stop <= FIRST:
            raise IndexError(f"only the first {FIRST} rows are read out of order")
        found = list(islice(self._read(self.opened.schema.names), stop))
        return found[at]

    def __iter__(self) -> Iterator[NumberedRow]:
        return self._read(self.wanted)

    def _read(self, columns: Sequence[str]) -> Iterator[NumberedRow]:
        number = {name: at for at, name in enumerate(self.opened.schema.names)}
        images = [name for name in columns if name in self.opened.images]
        counts = {name: self.opened.count_images(name) for name in images}
        row = 0
        for count, batch in self.opened.batches(columns):
            found = {number[name]: self._named(name, values) for name, values in batch.items()}
            for name in images:
                paths = found.get(number[name], [None] * count)
                held = counts[name][row : row + count].tolist()
                found[number[name]] = [
                    self._images(name, row + at, several) if several else path
                    for at, (several, path) in enumerate(zip(held, paths, strict=True))
                ]
            rows = zip(*found.values(), strict=True) if found else ((),) * count
            for values in rows:
                row += 1
                yield row, {column: value for column, value in zip(found, values, strict=True) if value is not None}

    def _images(self, column: str, row: int, count: int) -> Cell | list[Cell]:
        cells = [Cell(self.opened.file, column, row, number) for number in range(count)]
        return cells[0] if count == 1 else cells

    def _named(self, column: str, values: list[Any]) -> list[Any]:
        """The names of numbers where `datasets` keeps those of classes; -1 stands for none."""
        if column not in self.opened.class_names:
            return values
        known = dict(enumerate(self.opened.class_names[column])) | {-1: None}
        return [known.get(value, value) for value in values]


def are_parts(files: Sequence[Path]) -> bool:
    """Whether these are the parts of one table, as data-00000-of-00002.parquet and data-00001-of-00002.parquet."""
    return files[0].suffix.lower() in PARTS and len({_PART.sub("", file.name) for file in files}) == 1


def find_shards(path: Path) -> list[Path]:
    """The tar file itself, or the tar files directly in the folder."""
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if not is_leftover(file.name))
    return [file for file in files if file.suffix.lower() == ".tar" and not file.name.startswith(".")]


def find_saved(path: Path) -> list[tuple[Path, str | None]]:
    """The Arrow files of a data set, or of one with splits, that `datasets` saved in a folder; each with its split."""
    if not path.is_dir():
        return []
    if (path / STATE_FILE).is_file():
        return [(file, None) for file in _data_files(path)]
    if not (path / SPLITS_FILE).is_file():
        return []
    names = _list_of(path / SPLITS_FILE, "splits")
    order = sorted(names, key=lambda name: ["train", "val", "test", None].index(known_split(name)))
    return [(file, known_split(name)) for name in order for file in _data_files(path / Path(name).name)]


def load_hub(name: str) -> Path:
    """The folder where `datasets` keeps a data set of the Hugging Face hub, as Arrow files.

    `name` is OWNER/NAME, or OWNER/NAME:CONFIG; downloaded the first time. Raises ValueError where it cannot be had.
    """
    import datasets

    path, _, config = name.partition(":")
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(path, config or None)
        files = [Path(one["filename"]) for split in loaded.values() for one in split.cache_files]
    except Exception as error:  # of any of its readers
        raise ValueError(
            f"cannot load the data set {name!r}: {first_line(error)}; give hf:OWNER/NAME or hf:OWNER/NAME:CONFIG"
        ) from error
    if not files:
        raise ValueError(f"the data set {name!r} is empty; `msa check --help` tells what else is read")
    return files[0].parent


def load_tar(file: Path, known: frozenset[str]) -> Table:
    """A WebDataset shard: members with the same name up to its first dot are one post, its parts told by their suffix.

    An image is a Blob; `.txt` is the text, `.cls` the label, and the fields of `.json` are further columns. Rows are
    numbered from 1. Raises ValueError where it is no tar file.
    """
    posts: dict[str, dict[str, Any]] = {}
    problems: list[tuple[int, str]] = []
    unread: Counter[str] = Counter()
    for member in list_members(file):
        if isinstance(member, str):
            problems.append((len(posts) + 1, member))
            continue
        folder, slash, name = member.path.rpartition("/")
        stem, dot, suffix = name.partition(".")
        if not stem or not dot:
            unread[f"{name[:40]!r}"] += not name.startswith(".")
            continue
        post = posts.setdefault(folder + slash + stem, {})
        try:
            if not _add(post, member, "." + suffix.lower().rpartition(".")[2]):
                unread[f".{suffix[:40]}"] += 1
        except (BadItem, ValueError, RecursionError) as error:
            problems.append((len(posts), f"{member.path[:200]!r}: {error}"))
    columns = dict.fromkeys(chain(("id",), *posts.values()))
    numbers = {name: at for at, name in enumerate(columns)}
    rows = [
        (line, {numbers[name]: value for name, value in ({**post, "id": key}).items() if value is not None})
        for line, (key, post) in enumerate(posts.items(), start=1)
    ]
    listed = ", ".join(f"{suffix}: {count}" for suffix, count in unread.most_common(5) if count)
    return Table(list(columns), rows, problems, [f"members that are not read: {listed}"] if listed else [])


def _add(post: dict[str, Any], member: Member, suffix: str) -> bool:
    """Take a member into a post; False where nothing in it is read. Raises BadItem or ValueError."""
    if suffix == ".json":
        fields = json.loads(_text(member))
        if not isinstance(fields, dict):
            raise ValueError(f"not one JSON object: a JSON {type(fields).__name__}")
        for name, value in fields.items():
            post.setdefault(str(name).strip(), value)
        return True
    field = FIELDS.get(suffix)
    if field == "image":
        known: Any = post.get("image")
        images = known if isinstance(known, list) else [known] if isinstance(known, Blob) else []
        post["image"] = [*images, member] if images else member
    elif field is not None:
        post[field] = _text(member)
    return field is not None


def _text(member: Member) -> str:
    limit = MAX_MEGABYTES["text"] * 1_000_000
    if member.size > limit:
        raise BadItem(f"{member.size / 1e6:.1f} MB: over the limit of {MAX_MEGABYTES['text']} MB for one text")
    return decode_text(member.read(limit))


def _data_files(folder: Path) -> list[Path]:
    files = _list_of(folder / STATE_FILE, "_data_files")
    return [folder / Path(str(one["filename"])).name for one in files if isinstance(one, dict) and "filename" in one]


def _list_of(file: Path, name: str) -> list[Any]:
    try:
        found = json.loads(regular(file).read_bytes())[name]
        return [*found]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"cannot read {file}: {error}; save the data set again by save_to_disk") from error
