"""Which embeddings posts have; of several images a post has a set: pooled by mean, tokens side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...features.posts.content import Contents
from ...features.spec import EncoderSpec

ImageSet = tuple[int, ...]  # the numbers of the embeddings of one post's images, each once, in the post's order


@dataclass(frozen=True)
class PostItems:
    """Which of n embeddings each of N posts has, `row` (N,): -1 for none, n + s for those of set number s together.

    `images` (N,) is the number of embeddings of each post, None where no post has several images.
    """

    row: NDArray[np.int64]
    sets: Sequence[ImageSet] = ()
    images: NDArray[np.int64] | None = None


def find_items(spec: EncoderSpec, contents: Contents, keys: Sequence[str]) -> PostItems:
    """Which of the embeddings with these keys (n,) the posts have.

    A tower reads the first image that is there, and an import has one vector of a post, whatever its images.
    """
    number = {key: index for index, key in enumerate(keys)}
    own = contents.keys(spec.reads)
    row = np.array([number.get(key, -1) if key is not None else -1 for key in own], np.int64)
    if spec.reads == "text" or not contents.owners:
        return PostItems(row)
    row, sets = find_sets(row, contents.owners, len(keys), one=spec.raw or spec.source == "import")
    images = np.array([*[1] * len(keys), *map(len, sets), 0], np.int64)
    return PostItems(row, sets, images[row])


def find_sets(
    numbers: NDArray[np.int64], owners: Sequence[int], count: int, *, one: bool
) -> tuple[NDArray[np.int64], list[ImageSet]]:
    """The embedding of each of N posts, and the sets of images that are embeddings of their own.

    `numbers` (N + F,) are those of `count` embeddings, -1 for an image without: of the first image of each post, then
    of the F further images, of the posts `owners`. A post gets -1 where none of its images has one, and set number s of
    images is embedding count + s. With `one` a post has that of its first image that has one.
    """
    posts = len(numbers) - len(owners)
    rows = numbers[:posts].copy()
    images: dict[int, list[int]] = {}
    for post, number in zip(owners, numbers[posts:].tolist(), strict=True):
        images.setdefault(post, [int(numbers[post])]).append(number)
    sets: dict[ImageSet, int] = {}
    for post, found in images.items():
        own = tuple(dict.fromkeys(number for number in found if number >= 0))
        rows[post] = own[0] if own else -1
        if len(own) > 1 and not one:
            rows[post] = count + sets.setdefault(own, len(sets))
    return rows, list(sets)


def with_sets(lengths: NDArray[np.int64], sets: Sequence[ImageSet]) -> NDArray[np.int64]:
    """The numbers of tokens of embeddings (n,), then of sets of them."""
    return np.array([*lengths, *(lengths[list(one)].sum() for one in sets)], np.int64) if sets else lengths
