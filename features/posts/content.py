"""Content keys: digests of images and texts, so that equal content is one row everywhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..blob import content_key
from ..progress import step
from ..spec import MODALITIES, BadItem, Modality
from .containers.columnar import Cell
from .content_index import ContentIndex
from .formats import detect_format
from .remote.link import Link
from .remote.link_index import LinkIndex
from .remote.resolve import resolve_links
from .samples import MAX_MEGABYTES, Corpus, Sample, read_file
from .text import decode_with_encoding, read_text

WORKERS = 4  # threads that read files
_CHUNK = 500  # posts per task of a thread pool, and per query of the content index


@dataclass(frozen=True)
class BadContent:
    """An image that cannot be read, or a text that cannot be read or decoded; with the key of its bytes, if any."""

    index: int
    modality: Modality
    key: str | None
    file: str
    reason: str


@dataclass(frozen=True)
class Contents:
    """The keys of each post's image and text; None where there is none, or where it is listed in `bad`."""

    image_keys: list[str | None]
    text_keys: list[str | None]
    bad: list[BadContent]
    encodings: list[str] = field(default_factory=list, compare=False)  # of each text file; empty for other posts

    def keys(self, modality: Modality) -> list[str | None]:
        return self.image_keys if modality == "image" else self.text_keys

    def first(self, modality: Modality) -> dict[str, int]:
        """Each distinct key -> index of the first post that has it, in the order of the posts."""
        found: dict[str, int] = {}
        for index, key in enumerate(self.keys(modality)):
            if key is not None:
                found.setdefault(key, index)
        return found

    def missing(self, modality: Modality) -> list[bool]:
        """Whether each post has no such content: no file, or an empty text. Bad content is not missing."""
        bad = {b.index for b in self.bad if b.modality == modality}
        return [key is None and index not in bad for index, key in enumerate(self.keys(modality))]


def text_key(text: str) -> str:
    """Digest of a decoded text, 32 hex digits, the same whatever its encoding."""
    return content_key(text.encode("utf-8", "surrogatepass"))


def hash_corpus(corpus: Corpus, cache: Path | None = None, *, update: bool = True) -> Contents:
    """The content keys of all posts; files are read in threads, and of texts decoded.

    With a cache folder, files that its content index knows unchanged are not read, and it learns the others unless
    `update` is False. Links are fetched if they may be, see `resolve_links`.
    """
    linked = resolve_links(
        (one.image for one in corpus.samples if isinstance(one.image, Link)),
        cache,
        limit=MAX_MEGABYTES["image"] * 1_000_000,
        check=detect_format,
        rehash=corpus.rehash,
        update=update,
    )
    count = len(corpus.samples)
    contents = Contents([None] * count, [None] * count, [], [""] * count)

    def hash_chunk(chunk: range) -> list[BadContent]:
        bad: list[BadContent] = []
        for modality in MODALITIES:
            keys, posts = contents.keys(modality), corpus.samples[chunk.start : chunk.stop]
            states = index.states(source for post in posts if (source := post.source(modality)))
            known = index.find(modality, states.values())
            for row, post in zip(chunk, posts, strict=True):
                source = post.source(modality)
                state = states.get(source) if source else None
                try:
                    found = known.get(state) if state else None
                    if isinstance(source, Link):
                        found = _key_of(linked[source.url])
                    elif found is None:
                        found = hash_content(post, modality)
                        if state:
                            index.add(modality, state, *found)
                    keys[row] = found[0] or None
                    if modality == "text":
                        contents.encodings[row] = found[1]
                except BadItem as error:
                    bad.append(_bad_content(row, post, modality, str(error)))
        return bad

    with (
        ContentIndex(cache, corpus.root, rehash=corpus.rehash, update=update) as index,
        ThreadPoolExecutor(1 if any(isinstance(one.image, Cell) for one in corpus.samples) else WORKERS) as pool,
    ):
        rows = range(count)
        chunks = [rows[start : start + _CHUNK] for start in rows[::_CHUNK]]
        for chunk, bad in zip(chunks, pool.map(hash_chunk, chunks), strict=True):
            contents.bad.extend(bad)
            step("contents", chunk.stop, count, "posts")
    contents.bad.sort(key=lambda found: (found.index, found.modality))
    return contents


def _key_of(found: str | BadItem) -> tuple[str, str]:
    """The key behind a link, as `hash_content` returns it. Raises the BadItem there is in its place."""
    if isinstance(found, BadItem):
        raise BadItem(str(found))
    return found, ""


def forget_keys(root: Path, cache: Path, keys: Collection[str]) -> None:
    """Drop the files and links with these content keys from the indexes of a cache, in case these were wrong."""
    with ContentIndex(cache, root) as index:
        index.forget(keys)
    LinkIndex(cache).forget(keys)


def hash_content(sample: Sample, modality: Modality) -> tuple[str, str]:
    """The content key of a post's image or text, and the encoding of a text file. Raises BadItem.

    The key is empty where there is none, or a blank text.
    """
    if modality == "image":
        return content_key(read_file(sample.image, "image")) if sample.image else "", ""
    text, encoding = sample.text or "", ""
    if isinstance(text, Path):
        text, encoding = decode_with_encoding(read_file(text, "text"))
    else:
        text = read_text(text)
    return text_key(text) if text else "", encoding


def duplicate_groups(*keys: Sequence[str | None]) -> list[int]:
    """Group number of each post: posts that share a key of one kind, as an image or a text, directly or through others.

    Groups are numbered from 0 in order of first appearance; None is shared with no post.
    """
    parent = list(range(len(keys[0])))

    def root(post: int) -> int:
        while parent[post] != post:
            parent[post] = post = parent[parent[post]]
        return post

    for kind in keys:
        first: dict[str, int] = {}
        for post, key in enumerate(kind):
            if key is not None:
                older, newer = sorted((root(first.setdefault(key, post)), root(post)))
                parent[newer] = older
    number: dict[int, int] = {}
    return [number.setdefault(root(post), len(number)) for post in range(len(parent))]


def _bad_content(index: int, sample: Sample, modality: Modality, reason: str) -> BadContent:
    if modality == "text" and isinstance(sample.text, str):
        return BadContent(index, "text", text_key(sample.text), f"text of {sample.id}", reason)
    source = sample.source(modality)
    assert source is not None
    if modality == "text":
        with suppress(BadItem):
            return BadContent(index, "text", content_key(read_file(source, "text")), str(source), reason)
    return BadContent(index, modality, None, str(source), reason)
