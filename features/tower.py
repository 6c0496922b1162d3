"""Around a backbone: normalise pixels, pick layers, pool tokens; one module, so that it can be compiled whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .encoders import Encoded, EncoderSpec


class Tower(nn.Module):
    """A backbone with the poolings of its specs.

    The backbone maps its inputs to (layers, pooler): tokens (B, T, D) per layer, and the model's own vector (B, D)
    where it has one. Output: the tokens of each layer, then one pooled (B, D) per spec, as one list.
    """

    def __init__(self, backbone: nn.Module, specs: Sequence[EncoderSpec]) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = list(dict.fromkeys(spec.layer for spec in specs))
        self.ways = [(self.layers.index(spec.layer), spec.pool) for spec in specs]

    def pooled(self, layers: Sequence[Tensor], pooler: Tensor | None, mask: Tensor | None) -> list[Tensor]:
        """Tokens of each layer, then the pooled vector of each spec; mask (B, T) marks real tokens, None: all are."""
        vectors = []
        for layer, way in self.ways:
            if way == "pooler":
                assert pooler is not None
                vectors.append(pooler.float())
            else:
                vectors.append(pool_tokens(layers[layer].float(), mask, way))
        return [*layers, *vectors]

    def encoded(self, outputs: Sequence[Tensor], lengths: Sequence[int]) -> tuple[Encoded, ...]:
        """Give each spec its part of the outputs, tokens cut to their real lengths."""
        tokens = [
            [item[:length] for item, length in zip(layer.numpy(), lengths, strict=True)]
            for layer in outputs[: len(self.layers)]
        ]
        vectors = [output.numpy() for output in outputs[len(self.layers) :]]
        return tuple(Encoded(vector, tokens[layer]) for vector, (layer, _) in zip(vectors, self.ways, strict=True))


class ImageTower(Tower):
    """uint8 pixels (B, 3, h, w) in; they are scaled and normalised here, a quarter of the bytes to move."""

    def __init__(
        self,
        backbone: nn.Module,
        specs: Sequence[EncoderSpec],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        scale: float = 1 / 255,
    ) -> None:
        super().__init__(backbone, specs)
        self.scale = scale
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        normal = (pixels.float() * self.scale - self.mean) / self.std
        layers, pooler = self.backbone(normal.contiguous(memory_format=torch.channels_last))
        return self.pooled(layers, pooler, None)


class TextTower(Tower):
    """Ids (B, T) in, with the kinds of tokens (B, T) where the model knows them, and a mask where lengths differ."""

    def __init__(self, backbone: nn.Module, specs: Sequence[EncoderSpec], *, unmasked: bool) -> None:
        super().__init__(backbone, specs)
        self.unmasked = unmasked  # the model attends to padding, as it was trained; only pooling looks at the mask

    def forward(self, ids: Tensor, kinds: Tensor | None = None, mask: Tensor | None = None) -> list[Tensor]:
        layers, pooler = self.backbone(ids, kinds, None if self.unmasked else mask)
        return self.pooled(layers, pooler, mask)


def pool_tokens(tokens: Tensor, mask: Tensor | None, how: str) -> Tensor:
    """Reduce tokens (B, T, D), real where mask (B, T) is true and padded on the right, to vectors (B, D)."""
    if how == "cls":
        return tokens[:, 0]
    if mask is None:
        return {"last": lambda: tokens[:, -1], "max": lambda: tokens.amax(1), "mean": lambda: tokens.mean(1)}[how]()
    if how == "last":
        last = (mask.sum(1) - 1).view(-1, 1, 1).expand(-1, 1, tokens.shape[-1])  # (B, 1, D)
        return tokens.gather(1, last)[:, 0]
    if how == "max":
        return tokens.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(1)
    assert how == "mean", how
    weight = mask.unsqueeze(-1).to(tokens.dtype)  # (B, T, 1)
    return (tokens * weight).sum(1) / weight.sum(1)


def flatten_map(features: Tensor, *, channels_last: bool = False) -> Tensor:
    """Map (B, D, h, w), or (B, h, w, D) with channels last, to tokens (B, h*w, D) row by row; tokens stay."""
    if features.ndim == 3:
        return features
    return features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)


def ragged(items: Sequence[Sequence[int]], width: int, fill: int) -> Tensor:
    """Rows of ids padded on the right to (B, width)."""
    rows = np.full((len(items), width), fill, np.int64)
    for row, item in zip(rows, items, strict=True):
        row[: len(item)] = item
    return torch.from_numpy(rows)
