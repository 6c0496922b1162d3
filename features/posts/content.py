"""Content keys: digests of images and texts, so that equal content is one row everywhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from ..blob import content_key
from ..progress import step
from ..spec import MODALITIES, BadItem, Modality, Reads
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


AND = "+"  # between the keys of several images of a post


@dataclass(frozen=True)
class BadContent:
    """An image that cannot be read, or a text that cannot be read or decoded; with the key of its bytes, if any."""

    index: int  # of the item, see `Corpus.items`
    modality: Modality
    key: str | None
    file: str
    reason: str


@dataclass(frozen=True)
class Contents:
    """The key of each image and text; None where there is none, or where it is listed in `bad`.

    Images are those of `Corpus.items`: the first of each post, then the further ones, of the posts `owners`.
    """

    image_keys: list[str | None]
    text_keys: list[str | None]
    bad: list[BadContent]
    encodings: list[str] = field(default_factory=list, compare=False)  # of each text file; empty for other posts
    owners: list[int] = field(default_factory=list)

    def keys(self, reads: Reads) -> list[str | None]:
        """The key of each item: of an image or a text, or of both together; None where it lacks that, or one of both.

        Items of both together are the images, each with the text of its post.
        """
        if reads == "post":
            return [post_key(*both) for both in self._pairs()]
        return self.image_keys if reads == "image" else self.text_keys

    def rows(self, reads: Reads) -> list[int]:
        """The post of each item."""
        return [*range(len(self.text_keys)), *(() if reads == "text" else self.owners)]

    def joined(self, modality: Modality) -> list[str | None]:
        """What identifies each post's content: the key of its text or image, those of several images with + between."""
        posts = self.keys(modality)[: len(self.text_keys)]
        if modality == "image":
            for row, key in zip(self.owners, self.image_keys[len(posts) :], strict=True):
                posts[row] = AND.join(dict.fromkeys(filter(None, [*split_keys(posts[row]), key]))) or None
        return posts

    def readable(self, modality: Modality) -> list[int | None]:
        """The number of the first item of each post that has a key."""
        keys = self.keys(modality)
        found = [None if key is None else number for number, key in enumerate(keys[: len(self.text_keys)])]
        if modality == "image":
            for number, row in enumerate(self.owners, len(found)):
                if found[row] is None and keys[number] is not None:
                    found[row] = number
        return found

    def first(self, reads: Reads) -> dict[str, int]:
        """Each distinct key -> number of the first item that has it, in the order of the items."""
        found: dict[str, int] = {}
        for index, key in enumerate(self.keys(reads)):
            if key is not None:
                found.setdefault(key, index)
        return found

    def unreadable(self, reads: Reads) -> dict[int, BadContent]:
        """The bad content of each item that has some; of image and text together, of either."""
        found = {bad.index: bad for bad in self.bad if reads in (bad.modality, "post")}
        if reads == "post":
            texts = {bad.index: bad for bad in self.bad if bad.modality == "text"}
            further = {
                number: texts[row] for number, row in enumerate(self.owners, len(self.text_keys)) if row in texts
            }
            found = further | found
        return found

    def missing(self, reads: Reads) -> list[bool]:
        """Whether each item is a post without such content: no file, or an empty text. Bad content is not missing."""
        bad = self.unreadable(reads)
        return [key is None and index not in bad for index, key in enumerate(self.keys(reads))]

    def parts(self, keys: Collection[str]) -> set[str]:
        """These keys, and of image and text together those of each."""
        return {*keys, *(part for both in self._pairs() if post_key(*both) in keys for part in both if part)}

    def _pairs(self) -> list[tuple[str | None, str | None]]:
        """The keys of each image and of the text that goes with it."""
        return [(key, self.text_keys[row]) for key, row in zip(self.image_keys, self.rows("image"), strict=True)]


def split_keys(joined: str | None) -> list[str]:
    """The keys in what `Contents.joined` gives for a post."""
    return joined.split(AND) if joined else []


def text_key(text: str) -> str:
    """Digest of a decoded text, 32 hex digits, the same whatever its encoding."""
    return content_key(text.encode("utf-8", "surrogatepass"))


def post_key(image: str | None, text: str | None) -> str | None:
    """Digest of the keys of an image and a text, which are embedded together; None where either is."""
    return None if image is None or text is None else content_key(f"{image} {text}".encode())


def hash_corpus(corpus: Corpus, cache: Path | None = None, *, update: bool = True) -> Contents:
    """The content keys of all posts; files are read in threads, and of texts decoded.

    With a cache folder, files that its content index knows unchanged are not read, and it learns the others unless
    `update` is False. Links are fetched if they may be, see `resolve_links`.
    """
    linked = resolve_links(
        (one.image for one in corpus.items("image") if isinstance(one.image, Link)),
        cache,
        limit=MAX_MEGABYTES["image"] * 1_000_000,
        check=detect_format,
        rehash=corpus.rehash,
        update=update,
    )
    count, images = len(corpus.samples), len(corpus.items("image"))
    contents = Contents([None] * images, [None] * count, [], [""] * count, corpus.owners)

    def hash_chunk(chunk: range) -> list[BadContent]:
        bad: list[BadContent] = []
        for modality in MODALITIES:
            keys, posts = contents.keys(modality), corpus.items(modality)[chunk.start : chunk.stop]
            states = index.states(source for post in posts if (source := post.source(modality)))
            known = index.find(modality, states.values())
            for row, post in zip(chunk, posts, strict=False):  # beyond the posts there are images alone
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
        ThreadPoolExecutor(1 if any(isinstance(one.image, Cell) for one in corpus.items("image")) else WORKERS) as pool,
    ):
        rows = range(images)
        chunks = [rows[start : start + _CHUNK] for start in rows[::_CHUNK]]
        for chunk, bad in zip(chunks, pool.map(hash_chunk, chunks), strict=True):
            contents.bad.extend(bad)
            step("contents", chunk.stop, images, "posts" if images == count else "images")
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


def duplicate_groups(*keys: Sequence[str | None], owners: Sequence[int] = ()) -> list[int]:
    """Group number of each post: posts that share a key of one kind, as an image or a text, directly or through others.

    The first kind has a key for each post; another may have more, of the posts `owners`. Groups are numbered from 0 in
    order of first appearance; None is shared with no post.
    """
    parent = list(range(len(keys[0])))

    def root(post: int) -> int:
        while parent[post] != post:
            parent[post] = post = parent[parent[post]]
        return post

    for kind in keys:
        first: dict[str, int] = {}
        for post, key in zip(chain(range(len(parent)), owners), kind, strict=False):
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
