"""A run of two folds whose heads attend to one planted patch and one planted word, on features of given tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from msa.features.encoders.zoo import open_encoder
from msa.features.spec import EncoderSpec
from msa.heads.base import Dims, Head
from msa.heads.registry import build_head
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.data.cached_features import CachedFeatures, ModalityTable
from msa.pipeline.data.ragged import Ragged
from msa.pipeline.data.split import Posts
from msa.pipeline.runs.runs import Run

WIDTH = 8
CLASSES = ("bad", "good")
PLANTED, PLAIN = 2, 1  # columns in which the planted token, and all others, are not 0
SIDE = 7  # of the grid of patches


def image_spec() -> EncoderSpec:
    """The default image encoder with narrow vectors."""
    return replace(open_encoder("efficientnet_lite0", "image").spec, width=WIDTH, dtype="float32")


def text_spec() -> EncoderSpec:
    return replace(open_encoder("minilm", "text").spec, width=WIDTH, dtype="float32")


def planted_head(seed: int = 0) -> Head:
    """Co-attention of one layer and two attention heads, whose queries look for the planted column."""
    options = {"layers": 1, "heads": 2, "ffn": 4}
    head = build_head("coattention", Dims(WIDTH, WIDTH, len(CLASSES)), hidden=WIDTH, seed=seed, **options)
    with torch.no_grad():
        for projection in head.projections.values():
            projection.linear.weight.copy_(torch.eye(WIDTH))
            projection.linear.bias.zero_()
        for layer in (head.image_layers[0], head.text_layers[0]):
            attention = layer.attention
            attention.sink.zero_()
            attention.key.weight.zero_()
            attention.query.weight.zero_()
            attention.query.bias.fill_(20.0)
            attention.key.weight[:, PLANTED] = 1.0
    return head


def side(spec: EncoderSpec, tokens: Sequence[int], planted: Sequence[int | None]) -> ModalityTable:
    """One modality of posts of so many tokens each, one of them planted; 0 tokens: the post lacks it."""
    present = np.array([count > 0 for count in tokens])
    vectors = np.zeros((len(tokens), max(*tokens, 1), WIDTH), np.float32)
    mask = np.arange(vectors.shape[1]) < np.array(tokens)[:, None]
    vectors[mask, PLAIN] = 1.0
    for row, place in enumerate(planted):
        if place is not None:
            vectors[row, place] = np.eye(WIDTH)[PLANTED]
    pooled = np.zeros((len(tokens), WIDTH), np.float32)
    pooled[:, PLAIN] = 1.0
    return ModalityTable((spec,), present, pooled, Ragged.of_padded(vectors, mask))


def planted_table(image: ModalityTable, text: ModalityTable) -> CachedFeatures:
    count = len(image.present)
    posts = Posts([f"p{row}" for row in range(count)], ["good"] * count, np.arange(count), [None] * count)
    return CachedFeatures(posts, CLASSES, image, text)


def planted_run(heads: Sequence[Head] = (), fusion: str = "coattention") -> Run:
    """A run of one head per fold; two planted heads if left out."""
    config = HeadConfig(fusion, hidden=WIDTH, inputs="tokens", patches=None, token_width=None)
    heads = list(heads) or [planted_head(0), planted_head(1)]
    specs: dict[str, tuple[EncoderSpec, ...]] = {"image": (image_spec(),), "text": (text_spec(),)}
    return Run(config, CLASSES, specs, Path("cache"), heads, [{} for _ in heads], temperatures=(1.0,) * len(heads))  # type: ignore[arg-type]
