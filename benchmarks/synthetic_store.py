"""Synthetic posts in Parquet and a cache with their features, in blocks: more than fits into memory can be written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from msa.features.posts.content import content_key
from msa.features.spec import EncoderSpec
from msa.features.store.parts import KEY, EmbeddingBlock, write_part
from msa.features.store.store import Store

CLASSES = ("negative", "neutral", "positive")
BLOCK = 256  # posts that are made at once
PART_POSTS = 16_384
POOL = 1 << 22  # random numbers, of which each post takes some that follow one another
SIGNAL = 0.12  # standard deviations between classes, on every column of a third of the positions


def specs(image_width: int = 1280, text_width: int = 384) -> dict[str, EncoderSpec]:
    """The encoders whose features are made up."""
    widths = {"image": image_width, "text": text_width}
    return {
        modality: EncoderSpec(
            f"synthetic-{modality}", modality, "import", "none", "sha256:0", "last", "mean", "{}", width, "float16"
        )
        for modality, width in widths.items()
    }


def write_posts(folder: Path, posts: int) -> Path:
    """A folder of Parquet files: ids, images as bytes, short texts, labels."""
    table = folder / "posts"
    table.mkdir()
    for number, start in enumerate(range(0, posts, 100_000)):
        numbers = range(start, min(start + 100_000, posts))
        columns = {
            "id": [f"p{one}" for one in numbers],
            "image": [f"image {one}".encode() for one in numbers],
            "text": [f"post number {one}" for one in numbers],
            "label": [CLASSES[label_of(one)] for one in numbers],
        }
        pq.write_table(pa.table(columns), table / f"part-{number:04d}.parquet")
    return table


def label_of(post: int) -> int:
    """The class of a post."""
    return int(np.uint64(post * 0x9E3779B97F4A7C15 % 2**64) >> np.uint64(40)) % len(CLASSES)


def write_features(cache: Path, posts: int, *, patches: int = 49, words: int = 20, small: bool = False) -> int:
    """Pooled vectors and tokens of all posts, texts of 1 to 2 · `words` - 1 tokens: the bytes that were written."""
    total = 0
    for modality, spec in (specs(64, 32) if small else specs()).items():
        store = Store.open(cache, spec)
        draw = np.random.default_rng(len(modality))
        noise = draw.standard_normal(POOL + patches * 1280 + 2 * words * 1280, np.float32).astype(np.float16)
        means = SIGNAL * draw.standard_normal((len(CLASSES), spec.width), np.float32)
        for start in range(0, posts, PART_POSTS):
            numbers = np.arange(start, min(start + PART_POSTS, posts))
            full = modality == "image"
            lengths = np.full(len(numbers), patches) if full else draw.integers(1, 2 * words, len(numbers))
            blocks = _blocks(numbers, lengths, modality, noise, means, draw)
            rows, tokens = len(numbers), int(lengths.sum())
            total += write_part(store.folder, spec, blocks, rows=rows, token_rows=tokens).stat().st_size
    return total


def _blocks(
    numbers: NDArray[np.int64],
    lengths: NDArray[np.int64],
    modality: str,
    noise: NDArray[np.float16],
    means: NDArray[np.float32],
    draw: np.random.Generator,
) -> Iterator[EmbeddingBlock]:
    width = means.shape[1]
    starts = draw.integers(0, POOL, len(numbers))
    for first in range(0, len(numbers), BLOCK):
        some = slice(first, first + BLOCK)
        content = "image {}" if modality == "image" else "post number {}"
        keys = np.array([content_key(content.format(one).encode()) for one in numbers[some]], KEY)
        labels = np.array([label_of(int(one)) for one in numbers[some]])
        offsets = np.concatenate([[0], np.cumsum(lengths[some])])
        tokens = np.concatenate(
            [noise[at : at + count * width] for at, count in zip(starts[some], lengths[some], strict=True)]
        ).reshape(-1, width)
        tokens[::3] += np.repeat(means[labels].astype(np.float16), lengths[some], 0)[::3]
        pooled = np.add.reduceat(tokens.astype(np.float32), offsets[:-1]) / lengths[some, None]
        yield EmbeddingBlock(keys, pooled.astype(np.float32), tokens, offsets)
