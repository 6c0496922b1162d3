"""Posts as data: what the readers return and every later step takes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..blob import Blob
from ..regular_files import refuse_special
from ..spec import BadItem, Modality, Reads

MAX_MEGABYTES: dict[Modality, int] = {"image": 64, "text": 4}  # of one file
MOST_IMAGES = 64  # of one post: heads read the tokens of all


@dataclass(frozen=True, slots=True)  # there may be millions
class Sample:
    """One post. `image` is a file, or where else it is; `text` a file that is not decoded yet, or the text itself.

    None where absent. Of a post with several images `image` is the first.
    """

    id: str
    image: Path | Blob | None
    text: Path | str | None
    label: str | None = None
    split: str | None = None
    group: str | None = None
    more_images: tuple[Path | Blob, ...] = ()  # after the first

    @property
    def images(self) -> tuple[Path | Blob, ...]:
        """All its images."""
        return () if self.image is None else (self.image, *self.more_images)

    def source(self, modality: Modality) -> Path | Blob | None:
        """Where its image or text is read from; None where there is none, or the text stands in a table."""
        content = self.image if modality == "image" else self.text
        return None if isinstance(content, str) else content

    def file(self, reads: Reads) -> Path | None:
        """The file that holds its image or text; None where that is no file here. Of both together, the image's."""
        source = self.source("image" if reads == "post" else reads)
        return source.file if isinstance(source, Blob) else source

    def file_name(self, reads: Reads) -> str:
        """Where that is, in an error record; the id of the post where it is no file."""
        source = self.source("image" if reads == "post" else reads)
        return self.id if source is None else source.name


def read_file(source: Path | Blob, modality: Modality) -> bytes:
    """The content of a post's image or text. Raises BadItem where it cannot be read, or is too large."""
    limit = MAX_MEGABYTES[modality] * 1_000_000
    content, size = (source.read(limit), 0) if isinstance(source, Blob) else _read(source, limit)
    if (size := max(size, len(content))) > limit:
        raise BadItem(f"{size / 1e6:.1f} MB: over the limit of {MAX_MEGABYTES[modality]} MB for one {modality}")
    return content


def _read(path: Path, limit: int) -> tuple[bytes, int]:
    """The content of a regular file and its size; nothing of one over the limit. Raises BadItem."""
    try:
        refuse_special(path.stat())  # before it is opened: opening a device can act on it
        with open(path, "rb", opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            refuse_special(found)
            content = file.read(limit + 1) if found.st_size <= limit else b""
    except OSError as error:
        raise BadItem(f"unreadable: {error.strerror or error}") from error
    except ValueError as error:
        raise BadItem(f"unreadable: {error}") from error
    except MemoryError as error:
        raise BadItem(f"not enough memory to read its {found.st_size / 1e6:.1f} MB") from error
    return content, found.st_size


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
    table: str = ""  # the table file that the posts stand in, or the pattern of several; empty for a folder of posts

    @property
    def name(self) -> str:
        """The name of the data set: that of its table, or pattern, without the ending, or of its folder."""
        return Path(self.table).stem.replace("*", "").strip("_-. ") or self.root.resolve().name or "posts"

    @property
    def labels(self) -> list[str]:
        """The distinct labels, sorted: the order of every class axis."""
        return sorted({s.label for s in self.samples if s.label is not None})

    def items(self, reads: Reads) -> Sequence[Sample]:
        """What encoders read one by one: the posts and, of images, after all posts their further images, a sample each.

        Item n is of post n, an item after the posts of the post in `owners`. A further image comes with the text.
        """
        return self.samples if reads == "text" else self._images

    @cached_property
    def owners(self) -> list[int]:
        """The post of each further image, in the order of the items."""
        return [row for row, post in enumerate(self.samples) for _ in post.more_images]

    @cached_property
    def _images(self) -> Sequence[Sample]:
        if not self.owners:
            return self.samples
        first = [replace(post, more_images=()) if post.more_images else post for post in self.samples]
        return first + [Sample(post.id, image, post.text) for post in self.samples for image in post.more_images]

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
