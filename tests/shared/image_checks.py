"""Compares image encoders with a direct forward of their models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.zoo import open_encoder

IMAGES = [
    torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(width))
    for height, width in ((300, 400), (256, 199), (40, 700))
]


def save(state: dict[str, Any], file: Path) -> EncoderOptions:
    torch.save(state, file)
    return EncoderOptions(weights=file, dtype="float32")


def assert_close(got: np.ndarray[Any, Any], expected: Tensor, *, of: Tensor | None = None) -> None:
    """Equal to 1e-5 of the largest value: fp32 sums of another order (channels last) differ in the last digits.

    `of` are the values that were summed, where they cancel out.
    """
    largest = float((expected if of is None else of).abs().max())
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-5, atol=1e-5 * largest)


def check(name: str, options: EncoderOptions, expected: Tensor, pooled: Tensor) -> None:
    """Batched and one by one, tokens (B, T, D) and pooled (B, D) equal a direct forward."""
    encoder = open_encoder(name, "image", options).load(Runtime())
    prepared = [encoder.preprocess(image) for image in IMAGES]
    batched = encoder.encode(prepared)[0]
    assert batched.pooled.shape == (len(IMAGES), encoder.specs[0].width)
    assert batched.pooled.dtype == batched.tokens[0].dtype == np.float32
    for row, item in enumerate(prepared):
        (alone,) = encoder.encode([item])
        for tokens in (batched.tokens[row], alone.tokens[0]):
            assert_close(tokens, expected[row])
        for vector in (batched.pooled[row], alone.pooled[0]):
            assert_close(vector, pooled[row])


def rows(maps: Tensor) -> Tensor:
    """(B, D, h, w) -> (B, h*w, D), spelled out."""
    return torch.stack([maps[:, :, y, x] for y in range(maps.shape[2]) for x in range(maps.shape[3])], 1)
