"""All posts of a data set as one table, which msa reads as the same posts."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ...blob import Blob
from ...csv_text import marked, to_csv
from ...spec import BadItem
from ..columns import CANONICAL
from ..directory import absolute
from ..layouts import ReadOptions, read_corpus
from ..remote.link import Link
from ..samples import Corpus, Sample, read_file
from ..text import read_text

FORMATS = (".csv", ".jsonl", ".parquet")
ROWS = 256  # of Parquet written at a time, with their images

Row = dict[str, Any]


@dataclass(frozen=True)
class PostTable:
    """The posts, and the folder that the paths of their images count from when `file` is read."""

    corpus: Corpus
    file: Path
    images: Path

    @classmethod
    def of(cls, corpus: Corpus, file: Path) -> PostTable:
        """Raises ValueError for a name that tells no format, for one that is taken, and for images that are no files.

        These are in a Parquet table alone; links are in any.
        """
        if file.suffix.lower() not in FORMATS:
            raise ValueError(f"a table is called NAME{', NAME'.join(FORMATS)}; got {str(file)!r}")
        if file.exists():
            raise ValueError(f"{file} is there already; delete it, or name another file")
        images = [image for post in corpus.samples for image in post.images]
        inside = next(filter(_is_inside, images), None)
        if inside and file.suffix.lower() != ".parquet":
            raise ValueError(
                f"images lie in other files, as {inside}, and a {file.suffix} table cannot hold them; "
                f"name {file.with_suffix('.parquet')}"
            )
        folders = {absolute(image).parent for image in images if isinstance(image, Path)}
        here = absolute(file.parent)
        near = all(folder.is_relative_to(here) for folder in folders)
        return cls(corpus, file, here if near else Path(os.path.commonpath(folders)))

    @property
    def options(self) -> str:
        """The options with which the table is read."""
        return "" if self.images == absolute(self.file.parent) else f" --images {shlex.quote(str(self.images))}"

    @property
    def columns(self) -> list[str]:
        """The columns; split and group where any post has one."""
        optional = ("split", "group")
        return [
            name
            for name in CANONICAL
            if name not in optional or any(getattr(post, name) is not None for post in self.corpus.samples)
        ]

    def write(self, to: BinaryIO) -> int:
        """Write the table; returns how many posts lack a part that cannot be read, which is left out."""
        lost: list[str] = []
        rows = ({name: row[name] for name in self.columns} for row in self._rows(lost))
        if self.file.suffix.lower() == ".parquet":
            _write_parquet(to, rows, self.columns, self._image_type())
        elif self.file.suffix.lower() == ".jsonl":
            for row in rows:
                to.write(f"{json.dumps(row | {'image': _few(row['image'])}, ensure_ascii=False)}\n".encode())
        else:
            cells = ((row | {"image": _cell(row["image"])}).values() for row in rows)
            to.write(marked(to_csv(self.columns, cells, plain=True)).encode())
        return len(set(lost))

    def check(self) -> None:
        """Read the written table again. Raises ValueError where it has not become the same posts."""
        images = self.images if self.options else None
        found = read_corpus(self.file, layout="table", options=ReadOptions(images=images)).samples
        pairs = zip(self.corpus.samples, found, strict=False)
        other = next((one.id for one, two in pairs if _content(one) != _content(two)), None)
        if other is not None or len(found) != len(self.corpus.samples):
            which = f"post {other!r}" if other is not None else f"{len(self.corpus.samples) - len(found)} posts"
            cure = f"{self.file.with_suffix('.jsonl')}, which keeps every character"
            cure = cure if self.file.suffix.lower() == ".csv" else "a file in another folder"
            raise ValueError(f"{self.file} would not be read as it is meant, for {which}; name {cure}")

    def _rows(self, lost: list[str]) -> Iterator[Row]:
        for post in self.corpus.samples:
            images, text = [self._image(post, one, lost) for one in post.images], None
            try:
                text = read_text(post.text) if post.text is not None else None
            except BadItem:
                lost.append(post.id)
            images = [image for image in images if image is not None]
            own = {"id": post.id, "label": post.label, "split": post.split, "group": post.group}
            yield own | {"image": images, "text": text or None}

    def _image(self, post: Sample, image: Path | Blob, lost: list[str]) -> str | Row | None:
        """The path or the link of an image; of one inside another file its bytes."""
        if isinstance(image, Path):
            return absolute(image).relative_to(self.images).as_posix()
        if isinstance(image, Link):
            return image.url
        try:
            return {"bytes": read_file(image, "image"), "path": None}
        except BadItem:
            lost.append(post.id)
            return None

    def _image_type(self) -> Any:
        """The type of the image column in Parquet: paths, or bytes with paths; a list where a post has several."""
        import pyarrow as pa

        posts = self.corpus.samples
        inside = any(_is_inside(one) for post in posts for one in post.images)
        one = pa.struct({"bytes": pa.binary(), "path": pa.string()}) if inside else pa.string()
        return pa.list_(one) if any(post.more_images for post in posts) else one


def _write_parquet(to: BinaryIO, rows: Iterator[Row], columns: Sequence[str], image: Any) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(name, image if name == "image" else pa.string()) for name in columns])
    listed = pa.types.is_list(image)
    with parquet.ParquetWriter(to, schema) as writer:
        while batch := list(islice(rows, ROWS)):
            for row in batch:
                row["image"] = (row["image"] or None) if listed else next(iter(row["image"]), None)
            writer.write_table(pa.Table.from_pylist(batch, schema))


def _few(images: Sequence[str]) -> str | Sequence[str] | None:
    """One path as it is, several as a list."""
    return images if len(images) > 1 else next(iter(images), None)


def _cell(images: Sequence[str]) -> str:
    found = _few(images)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False) if found else ""


def _content(post: Sample) -> tuple[object, ...]:
    """What must be equal in two posts; of a text that cannot be read, and of images inside other files, nothing."""
    try:
        text = (read_text(post.text) if post.text is not None else None) or None
    except BadItem:
        text = None
    images = [absolute(one) if isinstance(one, Path) else str(one) for one in post.images if not _is_inside(one)]
    return post.id, post.label, post.split, post.group, text, images


def _is_inside(image: Path | Blob) -> bool:
    return isinstance(image, Blob) and not isinstance(image, Link)
