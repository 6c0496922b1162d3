"""What the features of posts were made of, where their words come from, and which folds of a run never saw them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ...features.encoders.encoder import Source
from ...features.posts.images import decode_pixels
from ...features.posts.samples import Sample, read_file
from ...features.posts.text import read_text
from ...features.spec import BadItem
from ...features.store.json_files import malformed, read_json
from ...features.words.word_pieces import Splitter
from ..data.split import Posts
from ..runs.run_config import REMEDY


class Original(NamedTuple):
    """A post's text, and the height and width of its upright picture; None where it has none, or it is unreadable."""

    text: str | None
    size: tuple[int, int] | None


class Seen(NamedTuple):
    """What a run knows of a post: the folds whose test row it was, and whether it is a training row of every fold."""

    tested: tuple[int, ...]
    trained: bool


def read_original(sample: Sample, *, picture: bool = True) -> Original:
    """Read a post; without `picture`, its text alone."""
    text, size = None, None
    with suppress(BadItem):
        text = None if sample.text is None else read_text(sample.text)
    with suppress(BadItem):
        if picture and sample.image is not None:
            height, width, _ = decode_pixels(read_file(sample.image, "image")).shape
            size = height, width
    return Original(text, size)


def open_splitters(sources: Iterable[Source]) -> dict[str, Splitter]:
    """What joins tokens to words, by the slug of each text encoder among these that has words."""
    return {source.spec.slug: source.words() for source in sources if source.words is not None}


def seen_in(path: Path, posts: Posts) -> list[Seen]:
    """What the run in this folder knows of each post, found by id and content. ValueError for a damaged split."""
    file, what = path / "split.json", "a run's split"
    stored = read_json(file, what, REMEDY, folds=list, contents=dict)
    with malformed(file, what, REMEDY):
        parts = {name: [set(fold[name]) for fold in stored["folds"]] for name in ("train", "valid", "test")}
        found = []
        for name, content in zip(posts.ids, posts.contents, strict=True):
            known = tuple(stored["contents"].get(name, ())) == tuple(content)
            tested = tuple(number for number, rows in enumerate(parts["test"]) if known and name in rows)
            fitted = [*parts["train"], *parts["valid"]]
            found.append(Seen(tested, known and any(name in rows for rows in fitted)))
    return found
