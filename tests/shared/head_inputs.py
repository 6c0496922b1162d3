"""Small heads of every kind, and random posts for them, on pooled vectors and on tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from msa.heads.base import Dims, Head, Inputs
from msa.heads.registry import build_head

DIMS = Dims(image=12, text=10, classes=3)
SHAPES = {"pooled": (1, 1), "tokens": (5, 7)}


def build(name: str, seed: int = 0, dropout: float = 0.3) -> Head:
    return build_head(name, DIMS, hidden=16, dropout=dropout, seed=seed)


def make_inputs(kind: str, rows: int = 6) -> Inputs:
    """Random posts; on tokens, of random lengths."""
    patches, words = SHAPES[kind]
    draw = torch.Generator().manual_seed(1)

    def mask(positions: int) -> Tensor:
        lengths = torch.randint(1, positions + 1, (rows, 1), generator=draw)
        return torch.arange(positions) < lengths

    return Inputs(
        torch.randn(rows, patches, DIMS.image, generator=draw),
        mask(patches),
        torch.randn(rows, words, DIMS.text, generator=draw),
        mask(words),
    )


def without(inputs: Inputs, *, image: list[int] | None = None, text: list[int] | None = None) -> Inputs:
    """The same posts, some of them without a modality."""
    image_mask, text_mask = inputs.image_mask.clone(), inputs.text_mask.clone()
    image_mask[image or []] = False
    text_mask[text or []] = False
    return inputs._replace(image_mask=image_mask, text_mask=text_mask)


def pad(inputs: Inputs) -> Inputs:
    """The same posts with three more positions in each modality, whose values must never be read."""

    def longer(vectors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        garbage = torch.full((len(mask), 3, vectors.shape[-1]), 1e6)
        garbage[0], garbage[1] = torch.nan, torch.inf
        return torch.cat([vectors, garbage], 1), torch.cat([mask, torch.zeros(len(mask), 3).bool()], 1)

    return Inputs(*longer(inputs.image, inputs.image_mask), *longer(inputs.text, inputs.text_mask))
