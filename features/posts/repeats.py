"""Posts whose id occurs several times, in one table or in the tables of several splits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .cells import Tally
from .collector import PostCollector
from .samples import Sample


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, `stem` the name of its file without suffix."""

    file: str
    line: int
    stem: str
    sample: Sample


def tell_apart(rows: Sequence[Row], tally: Tally) -> Sequence[Row]:
    """Put the file's name before each id where ids begin again in each file: most repeated ids are other posts."""
    first: dict[str, Row] = {}
    same = other = 0
    for row in rows:
        earlier = first.setdefault(row.sample.id, row)
        if earlier.file != row.file:
            equal = _is_same_post(earlier.sample, row.sample)
            same, other = same + equal, other + (not equal)
    if other <= same:
        return rows
    tally["ids begin again in each file, and are read as FILE/ID", ""] += len(rows)
    return [replace(row, sample=replace(row.sample, id=f"{row.stem}/{row.sample.id}")) for row in rows]


def unite(rows: Sequence[Row], posts: PostCollector, tally: Tally) -> Iterable[Row]:
    """One row per id: the first one with a label. A post in several files is one; any other repetition is reported."""
    kept: dict[str, Row] = {}
    for row in rows:
        id = row.sample.id
        earlier = kept.setdefault(id, row)
        if earlier is row:
            continue
        used, unused = earlier, row
        if earlier.sample.label is None and row.sample.label is not None:
            used, unused = row, earlier
            kept[id] = row  # in the place of the earlier one
        agree = unused.sample.label in (None, used.sample.label) and used.sample.split == unused.sample.split
        if used.file != unused.file and agree and _is_same_post(used.sample, unused.sample):
            kept[id] = replace(used, sample=_complete(used.sample, unused.sample))
            tally["posts in two files, read as one with its label", f"{earlier.file} and {row.file}"] += 1
        else:
            which = "first" if used is earlier else "labelled"
            if used.file == unused.file:
                tally["rows left out, as their id is taken; if ids are not of posts, rename their column", ""] += 1
            posts.report(row.file, row.line, f"id {id!r} is already in {_place(earlier)}; the {which} one is kept")
    return kept.values()


def _place(row: Row) -> str:
    return f"{row.file}:{row.line}"


def _complete(sample: Sample, other: Sample) -> Sample:
    """A sample with the image and the text of another where it has none, as of a table that holds labels alone."""
    with_image = sample if sample.images else other
    image, more = with_image.image, with_image.more_images
    return replace(sample, image=image, more_images=more, text=sample.text or other.text)


def _is_same_post(one: Sample, other: Sample) -> bool:
    """Whether image or text are equal; posts without either cannot be told apart."""
    pairs = [(one.image, other.image), (one.text, other.text)]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    return not both or any(a == b for a, b in both)
