"""Posts as data: what the readers return and every later step takes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..spec import BadItem, Modality

MAX_MEGABYTES: dict[Modality, int] = {"image": 64, "text": 4}  # of one file


@dataclass(frozen=True)
class Sample:
    """One post. `image` is a file; `text` is a file that is not decoded yet, or the text itself; None where absent."""

    id: str
    image: Path | None
    text: Path | str | None
    label: str | None = None
    split: str | None = None
    group: str | None = None

    def file(self, modality: Modality) -> Path | None:
        """The file of its image or text; None where there is none, or the text stands in a table."""
        content = self.image if modality == "image" else self.text
        return content if isinstance(content, Path) else None

    def file_name(self, modality: Modality) -> str:
        """Name of that file in an error record; the id of the post where there is no file."""
        file = self.file(modality)
        return self.id if file is None else file.name


def read_file(path: Path, modality: Modality) -> bytes:
    """The content of a post's file. Raises BadItem where it cannot be read, is no regular file, or is too large."""
    limit = MAX_MEGABYTES[modality] * 1_000_000
    try:
        _refuse_special(path.stat())  # before it is opened: opening a device can act on it
        with open(path, "rb", opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            _refuse_special(found)
            content = file.read(limit + 1) if found.st_size <= limit else b""
    except OSError as error:
        raise BadItem(f"unreadable: {error.strerror or error}") from error
    except MemoryError as error:
        raise BadItem(f"not enough memory to read its {found.st_size / 1e6:.1f} MB") from error
    if max(found.st_size, len(content)) > limit:
        size = max(found.st_size, len(content)) / 1e6
        raise BadItem(f"{size:.1f} MB: over the limit of {MAX_MEGABYTES[modality]} MB for one {modality}")
    return content


def _refuse_special(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device, a pipe or a socket"
        raise BadItem(f"unreadable: it is {kind}, not a regular file")


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting, should the file have become a pipe that nothing writes to."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@dataclass(frozen=True)
class Problem:
    """A fault in the data: the file, the line (1-based; None for a whole file), and the reason."""

    file: str
    line: int | None
    reason: str

    @property
    def kind(self) -> str:
        """What problems of its kind have in common: the reason without names and numbers, up to its first colon."""
        return re.sub(r"(?<!\w)(['\"]).*?\1(?!\w)|[0-9]+", "…", self.reason).partition(": ")[0]

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f':{self.line}'}: {self.reason}"


@dataclass(frozen=True)
class Corpus:
    """All posts of one data set, in the order of its files, and its problems."""

    root: Path
    layout: str
    samples: Sequence[Sample]
    problems: Sequence[Problem] = ()
    notes: Sequence[str] = ()  # lines that `msa check` prints, such as the kept and dropped counts of a label rule
    rehash: bool = False  # read every file again, whatever the content index of a cache knows
    table: str = ""  # the table file that the posts stand in; empty for a folder of posts

    @property
    def name(self) -> str:
        """The name of the data set: that of its table without the ending, or of its folder."""
        return Path(self.table).stem or self.root.resolve().name or "posts"

    @property
    def labels(self) -> list[str]:
        """The distinct labels, sorted: the order of every class axis."""
        return sorted({s.label for s in self.samples if s.label is not None})

    def require(self, modality: Modality) -> None:
        """Raise ValueError where none of the posts has this modality: more likely its files were not found."""
        if self.samples and all(
            (sample.image if modality == "image" else sample.text) is None for sample in self.samples
        ):
            raise ValueError(absent(modality, len(self.samples), self.root))


def absent(modality: Modality, posts: int, where: Path) -> str:
    """The error for posts of which none has a modality that an encoder reads."""
    if not posts:
        return f"no posts in {where}; `msa check` shows what was read"
    return (
        f"none of the {posts} posts in {where} has {'an image' if modality == 'image' else 'a text'}; "
        f"`msa check` shows what was looked for, --{modality} none leaves the {modality}s out"
    )
