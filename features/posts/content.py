"""Content keys: digests of images and texts, so that equal content is one row everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from ..spec import BadItem, Modality
from .samples import Corpus, Sample, read_file
from .text import read_text

WORKERS = 4  # threads that read files
_CHUNK = 64  # posts per task of a thread pool, which costs as much as reading a file


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


def content_key(raw: bytes) -> str:
    """Digest of the bytes, 32 hex digits."""
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def text_key(text: str) -> str:
    """Digest of a decoded text, 32 hex digits, the same whatever its encoding."""
    return content_key(text.encode("utf-8", "surrogatepass"))


def hash_corpus(corpus: Corpus) -> Contents:
    """Read every file once, in threads, and compute its content key; only text is decoded."""
    samples = list(enumerate(corpus.samples))
    chunks = [samples[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK)]
    contents = Contents([None] * len(samples), [None] * len(samples), [])

    def hash_chunk(chunk: Sequence[tuple[int, Sample]]) -> list[BadContent]:
        bad: list[BadContent] = []
        for index, sample in chunk:
            try:
                contents.image_keys[index] = content_key(read_file(sample.image, "image")) if sample.image else None
            except BadItem as error:
                bad.append(BadContent(index, "image", None, str(sample.image), str(error)))
            try:
                text = "" if sample.text is None else read_text(sample.text)
                contents.text_keys[index] = text_key(text) if text else None
            except BadItem as error:
                bad.append(_bad_text(index, sample, str(error)))
        return bad

    with ThreadPoolExecutor(WORKERS) as pool:
        for bad in pool.map(hash_chunk, chunks):
            contents.bad.extend(bad)
    return contents


def duplicate_groups(
    image_keys: Sequence[str | None], text_keys: Sequence[str | None], groups: Sequence[str | None]
) -> list[int]:
    """Group number of each post: posts that share an image, a text or a user's group, directly or through others.

    Groups are numbered from 0 in order of first appearance; None is shared with no post.
    """
    parent = list(range(len(image_keys)))

    def root(post: int) -> int:
        while parent[post] != post:
            parent[post] = post = parent[parent[post]]
        return post

    for keys in (image_keys, text_keys, groups):
        first: dict[str, int] = {}
        for post, key in enumerate(keys):
            if key is not None:
                older, newer = sorted((root(first.setdefault(key, post)), root(post)))
                parent[newer] = older
    number: dict[int, int] = {}
    return [number.setdefault(root(post), len(number)) for post in range(len(parent))]


def _bad_text(index: int, sample: Sample, reason: str) -> BadContent:
    if isinstance(sample.text, str):
        return BadContent(index, "text", text_key(sample.text), f"text of {sample.id}", reason)
    assert sample.text is not None
    with suppress(BadItem):
        return BadContent(index, "text", content_key(read_file(sample.text, "text")), str(sample.text), reason)
    return BadContent(index, "text", None, str(sample.text), reason)
