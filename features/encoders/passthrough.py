"""Pass-through encoders: raw pixels and word pieces, for towers that are trained with the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..model_files.weights import verify_sha256
from ..spec import EncoderSpec
from ..words.word_pieces import tokenizer_file_splitter
from .bundled import MINILM_FILES, MINILM_LIMIT, require_bundled
from .encoder import Encoded, Encoder, EncoderOptions, Source, choose_length, refuse_prompt, refuse_weights
from .runtime import Runtime
from .variants import Stage, make_specs

if TYPE_CHECKING:
    from torch import Tensor

PIXELS = {"pixels": (224, 256), "pixels64": (64, 73)}  # the square that is stored, cut from this short side
VOCABULARY = 30522  # of the tokenizer that comes with minilm
TOKENIZER = {name: sha256 for name, sha256 in MINILM_FILES.items() if name.startswith("tokenizer")}


def open_pixels(name: str, options: EncoderOptions) -> Source:
    """`pixels`: 224 tokens, each a row of the image, red, green and blue in turn: (224, 672) uint8.

    `pixels64`: 64 of them, (64, 192), for training on a CPU. Pooled is their mean. Both are cropped as for ImageNet.
    Raises ValueError for weights, another layer or another pooling.
    """
    refuse_weights(name, options)
    side, short = PIXELS[name]
    resize = {"antialias": True, "crop_size": [side], "interpolation": "bilinear", "resize_size": [short]}
    specs = make_specs(
        options,
        name=name,
        modality="image",
        source="raw",
        architecture="none",
        weights="none",
        preprocess=resize,
        stages=[Stage("rows", 3 * side)],
        pools=("mean",),
        dtype="uint8",
    )
    return Source(specs, lambda runtime: PixelRows(specs, resize))


def open_tokens(options: EncoderOptions) -> Source:
    """`tokens`: the id of each word piece, (T, 1) int32. Pooled is their number. Raises ValueError as `open_pixels`."""
    refuse_weights("tokens", options)
    refuse_prompt("tokens", options)
    folder = require_bundled("minilm", "tokens").parent  # its tokenizer
    length = choose_length("tokens", options.max_length, limit=MINILM_LIMIT)
    specs = make_specs(
        options,
        name="tokens",
        modality="text",
        source="raw",
        architecture="none",
        weights="none",
        preprocess={"tokenizer": TOKENIZER, "truncation": "right", "max_length": length, "vocabulary": VOCABULARY},
        stages=[Stage("word pieces", 1)],
        pools=("count",),
        dtype="int32",
        max_length=length,
    )

    def load(runtime: Runtime) -> Encoder:
        from tokenizers import Tokenizer

        for name, sha256 in TOKENIZER.items():
            verify_sha256(folder / name, sha256)
        return WordPieces(specs, Tokenizer.from_file(str(folder / "tokenizer.json")), length)

    return Source(specs, load, partial(tokenizer_file_splitter, folder / "tokenizer.json", length))


class PixelRows(Encoder):
    """uint8 RGB tensor (3, H, W) -> resized and cropped -> its rows."""

    def __init__(self, specs: Sequence[EncoderSpec], resize: Mapping[str, Any]) -> None:
        self.specs, self.resize = tuple(specs), resize

    def preprocess(self, item: Tensor, key: str = "") -> Tensor:
        """Resize and crop one image to uint8 (3, S, S)."""
        from .image_encoder import resize_and_crop

        return resize_and_crop(item, **self.resize).contiguous()

    def encode(self, batch: Sequence[Tensor]) -> tuple[Encoded, ...]:
        rows = [np.ascontiguousarray(image.permute(1, 2, 0).flatten(1).numpy()) for image in batch]
        return tuple(Encoded(np.stack([r.mean(0, dtype=np.float32) for r in rows]), list(rows)) for _ in self.specs)


class WordPieces(Encoder):
    """Cleaned text -> ids of its word pieces, special ones included, cut to the max length."""

    def __init__(self, specs: Sequence[EncoderSpec], tokenizer: Any, length: int) -> None:
        self.specs = tuple(specs)
        tokenizer.enable_truncation(length)
        tokenizer.no_padding()
        self.tokenizer = tokenizer

    def preprocess(self, item: str, key: str = "") -> list[int]:
        """The ids. The tokenizer is thread-safe."""
        ids: list[int] = self.tokenizer.encode(item).ids
        return ids

    def length(self, prepared: Sequence[int]) -> int:
        """Number of word pieces."""
        return len(prepared)

    def is_cut(self, item: str, prepared: Sequence[int]) -> bool:
        return bool(self.tokenizer.encode(item).overflowing)

    def encode(self, batch: Sequence[Sequence[int]]) -> tuple[Encoded, ...]:
        ids = [np.array(item, np.int32)[:, None] for item in batch]
        counts = np.array([[len(item)] for item in batch], np.float32)
        return tuple(Encoded(counts, list(ids)) for _ in self.specs)
