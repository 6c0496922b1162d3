"""What a cache holds for the items of posts, joined to the order of the posts: in memory, or once in mapped files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...features.messages import notify
from ...features.posts.content import Contents
from ...features.spec import EncoderSpec
from ...features.store.header import read_header
from ...features.store.joined import JOINED
from ...features.store.parts import part_files
from ...features.store.store import Store
from ..config.values import Grid
from .image_sets import PostItems, find_items, with_sets
from .patches import coarsen
from .ragged import Ragged
from .storage import New, Storage

REDUCED = 128  # the usual width that tokens are reduced to, for an estimate
ESTIMATOR_COPIES = 4  # in float64: all columns, standardised, and the classifier's own
FLOAT = np.dtype(np.float32)


def choose_storage(
    contents: Contents,
    cache: Path,
    specs: Iterable[EncoderSpec],
    *,
    tokens: bool,
    patches: Grid | None,
    memory: int | None,
    whole: Sequence[str] = (),
) -> Storage:
    """In memory where the features of these encoders take at most `memory` bytes, or None is given; else mapped.

    Raises ValueError for mapped features of heads that read all posts at once, which are named in `whole`.
    """
    known = [spec for spec in specs if (cache / spec.slug).is_dir()]
    if memory is None or (not contents.owners and _most_bytes(contents, cache, known) <= memory):
        return Storage()
    needed = sum(_bytes(Store(cache / one.slug, one), contents, tokens, patches) for one in known)
    if needed <= memory:
        return Storage()
    if whole:
        refuse_whole(whole[0], len(contents.text_keys), sum(spec.width for spec in known), memory)
    notify(
        f"the features take about {needed / 1e9:.3g} GB, more than --memory ({memory / 1e9:.3g} GB): they are read in "
        f"blocks from {cache / JOINED}, and heads train on batches of shuffled blocks"
    )
    return Storage(cache, memory)


def refuse_whole(fusion: str, rows: int, width: int, memory: int) -> None:
    """Raise ValueError: this head is fitted to all pooled vectors (rows, width) at once, which do not fit."""
    needed = ESTIMATOR_COPIES * rows * width * np.dtype(np.float64).itemsize
    raise ValueError(
        f"{fusion} is fitted to all posts at once, which takes about {needed / 1e9:.3g} GB, and --memory is "
        f"{memory / 1e9:.3g} GB; give a larger --memory, another --fusion, or fewer posts by --limit"
    )


def _most_bytes(contents: Contents, cache: Path, specs: Sequence[EncoderSpec]) -> int:
    """What these features take at most, by the sizes of the files alone."""
    files = sum(path.stat().st_size for spec in specs for path in part_files(cache / spec.slug))
    rows = sum(2 * len(contents.keys(spec.reads)) * spec.width * FLOAT.itemsize for spec in specs)
    return 3 * files + rows  # tokens of one byte a number may be averaged, or reduced, to larger ones


def _bytes(store: Store, contents: Contents, tokens: bool, patches: Grid | None) -> int:
    """What the features of one encoder take: pooled vectors twice, as baselines copy them, tokens, and reduced ones."""
    spec = store.spec
    pooled = 2 * len(contents.text_keys) * spec.width * FLOAT.itemsize
    if not (tokens or spec.raw):
        return pooled
    distinct = list(dict.fromkeys(key for key in contents.keys(spec.reads) if key is not None))
    stored = [key for key, there in zip(distinct, store.find(distinct), strict=True) if there]
    grid = _grid(spec, patches)
    count = int(_lengths(store, stored, find_items(spec, contents, stored), grid).sum())
    each = (FLOAT if grid else np.dtype(spec.dtype)).itemsize
    return pooled + count * (spec.width * each + (0 if spec.raw else min(spec.width, REDUCED) * FLOAT.itemsize))


def read_rows(
    store: Store, keys: Sequence[str], items: PostItems, *, tokens: bool, patches: Grid | None, storage: Storage
) -> tuple[NDArray[np.float32], Ragged | None]:
    """The pooled vectors (N, D) and the tokens (N,) of N posts; zeros, and none, where a post has no stored item.

    `keys` (n,) are distinct and all stored, `items` says which of them a post has.
    """
    grid = _grid(store.spec, patches)
    lengths = _lengths(store, keys, items, grid) if tokens else None
    fill = partial(_fill, store, keys, items, lengths, grid)
    arrays = storage.build(_digest(store, keys, items, tokens, grid) if storage.mapped else "", fill)
    if lengths is None:
        return arrays["pooled"], None
    return arrays["pooled"], Ragged.packed(arrays["tokens"], lengths).spread(items.row)


def _fill(
    store: Store,
    keys: Sequence[str],
    items: PostItems,
    lengths: NDArray[np.int64] | None,
    grid: Grid | None,
    new: New,
) -> None:
    """Read the store once, as it lies on the disk, and put each item where its posts are."""
    spec, row = store.spec, items.row
    pooled = new("pooled", (len(row), spec.width), FLOAT)
    joined = np.unique(np.array([number for one in items.sets for number in one], np.int64))
    images = new("images", (len(joined), spec.width), FLOAT) if len(joined) else pooled[:0]
    ragged = None
    if lengths is not None:
        values = new("tokens", (int(lengths.sum()), spec.width), FLOAT if grid else np.dtype(spec.dtype))
        ragged = Ragged.packed(values, lengths)
    order = np.argsort(row, kind="stable")
    posts = Ragged.packed(order[(row < 0).sum() :], np.bincount(row[row >= 0], minlength=len(keys) + len(items.sets)))
    for positions, block in store.read(keys, tokens=ragged is not None):
        own = posts[positions]
        pooled[own.values[own.indices()]] = np.repeat(block.pooled, own.lengths, axis=0)
        inside = np.isin(positions, joined)
        images[np.searchsorted(joined, positions[inside])] = block.pooled[inside]
        if ragged is not None:
            for position, item in zip(positions, block.token_rows(), strict=True):
                ragged.row(position)[:] = coarsen(item, grid) if grid else item
    for number, one in enumerate(items.sets, len(keys)):
        pooled[posts.row(number)] = images[np.searchsorted(joined, one)].mean(0)
        if ragged is not None:
            ragged.row(number)[:] = np.concatenate([ragged.row(image) for image in one])


def _lengths(store: Store, keys: Sequence[str], items: PostItems, grid: Grid | None) -> NDArray[np.int64]:
    """The number of tokens of each of these keys, and of each set of images."""
    return with_sets(np.full(len(keys), grid[0] * grid[1]) if grid else store.lengths(keys), items.sets)


def _grid(spec: EncoderSpec, patches: Grid | None) -> Grid | None:
    """The grid that an encoder's tokens are averaged to."""
    return patches if spec.modality == "image" and not spec.raw else None


def _digest(store: Store, keys: Sequence[str], items: PostItems, tokens: bool, grid: Grid | None) -> str:
    """A name for joined rows by everything that decides them: the encoder, its parts, the items and their posts."""
    found = hashlib.blake2b(repr((store.spec.fingerprint, tokens, grid)).encode(), digest_size=12)
    for part in sorted(part.path for part in store.parts):
        found.update(f"{part.name} {read_header(part).crc32}".encode())
    found.update("".join(keys).encode())
    found.update(np.ascontiguousarray(items.row, "<i8").tobytes())
    if items.sets:
        found.update(repr(items.sets).encode())
    return found.hexdigest()
