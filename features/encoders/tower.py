"""Towers: a backbone with normalisation and pooling as one module, so that it can be compiled whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..spec import EncoderSpec
from .encoder import Encoded
from .variants import WHOLE_POOLS, layer_names


class Backbone(nn.Module):
    """A model; `features(model, *inputs)` returns tokens (B, T, D) per layer, and its own pooled (B, D) or None."""

    def __init__(self, model: nn.Module, features: Callable[..., tuple[list[Tensor], Tensor | None]]) -> None:
        super().__init__()
        self.model = model
        self.features = features

    def forward(self, *inputs: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        """Features of each layer, and the output of the model's own pooler or None."""
        return self.features(self.model, *inputs)


class Tower(nn.Module):
    """A backbone with the poolings of its specs. Output: the tokens of each layer, then one pooled (B, D) per spec."""

    prefix = 0  # tokens before the patches; 'mean' and 'max' skip them

    def __init__(self, backbone: nn.Module, specs: Sequence[EncoderSpec]) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = layer_names(specs)
        self.dtype = torch.float16 if specs[0].dtype == "float16" else torch.float32
        self.poolings = [(self.layers.index(spec.layer), spec.pool) for spec in specs]

    def pooled(self, layers: Sequence[Tensor], pooler: Tensor | None, mask: Tensor | None) -> list[Tensor]:
        """Tokens of each layer, then the pooled vector of each spec; mask (B, T) marks real tokens, None: all are."""
        vectors = []
        for layer, pool in self.poolings:
            if pool in WHOLE_POOLS:
                assert pooler is not None
                vectors.append(pooler.float())
            else:
                skip = self.prefix if pool in ("mean", "max") else 0
                tokens = layers[layer][:, skip:] if skip else layers[layer]
                vectors.append(pool_tokens(tokens.float(), mask, pool))
        return [*layers, *vectors]

    def encoded(self, outputs: Sequence[Tensor], lengths: Sequence[int] | None = None) -> tuple[Encoded, ...]:
        """Split the outputs by spec: tokens cut to their real lengths (None: all), in the format of the store."""
        ends = [None] * len(outputs[0]) if lengths is None else lengths
        tokens = [
            [item[:end] for item, end in zip(layer.to(self.dtype).numpy(), ends, strict=True)]
            for layer in outputs[: len(self.layers)]
        ]
        vectors = [output.numpy() for output in outputs[len(self.layers) :]]
        return tuple(Encoded(vector, tokens[layer]) for vector, (layer, _) in zip(vectors, self.poolings, strict=True))


class ImageTower(Tower):
    """Takes uint8 pixels (B, 3, h, w) and normalises them here: a quarter of the bytes of floats to move."""

    def __init__(
        self,
        backbone: nn.Module,
        specs: Sequence[EncoderSpec],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        scale: float = 1 / 255,
        prefix: int = 0,
    ) -> None:
        super().__init__(backbone, specs)
        self.prefix = prefix
        self.scale = scale
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Pixels (B, 3, H, W) in 0..255: for each layer and pooling, pooled vectors (B, D) and tokens (B, T, D)."""
        normal = (pixels.float() * self.scale - self.mean) / self.std
        layers, pooler = self.backbone(normal.contiguous(memory_format=torch.channels_last))
        return self.pooled(layers, pooler, None)


class TextTower(Tower):
    """Takes ids (B, T), token types (B, T) where the model has them, and a mask where lengths differ."""

    def __init__(self, backbone: nn.Module, specs: Sequence[EncoderSpec], *, unmasked: bool) -> None:
        super().__init__(backbone, specs)
        self.unmasked = unmasked  # the model attends to padding, as in its training; only pooling uses the mask

    def forward(self, ids: Tensor, kinds: Tensor | None = None, mask: Tensor | None = None) -> list[Tensor]:
        """Ids, segments and mask (B, T) of word pieces: for each layer and pooling, pooled vectors and tokens."""
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


def run_transformer(model: Any, layers: Sequence[str], **inputs: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
    """Run a transformers model: the tokens (B, T, D) of these layers, and the model's own pooled vector, if any."""
    inner = {"output_hidden_states": True} if set(layers) - {"last_hidden_state"} else {}
    output = model(**{name: value for name, value in inputs.items() if value is not None}, **inner)
    return [flatten_map(state) for state in pick_states(output, layers)], getattr(output, "pooler_output", None)


def pick_states(output: Any, layers: Sequence[str]) -> list[Tensor]:
    """The layers in the output of a transformers model: `last_hidden_state`, or `hidden_states[-2]` and before."""
    found = re.compile(r"hidden_states\[(-\d+)\]")
    return [
        output.hidden_states[int(inner[1])] if (inner := found.fullmatch(layer)) else output.last_hidden_state
        for layer in layers
    ]


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
