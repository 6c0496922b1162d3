"""Multimodal Transformer: directional cross-modal attention, then self-attention in each direction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import Dims, Head, Inputs, classifier
from .block import Block, blocks
from .positions import PositionKind, Positions


class MultHead(Head):
    """logits = classify([i; t]), pooled positions after `layers` layers of cross-attention and one of self-attention.

    Tsai et al., 2019 (MulT). Every layer attends to the other modality's input sequence, so the two directions are
    independent. `heads` attention heads, `ffn` the width of the feed-forward layers, `positions` the position encoding
    of both sequences.

    Raises ValueError when `heads` does not divide `hidden` or `layers` is below 1.
    """

    def __init__(
        self,
        dims: Dims,
        *,
        hidden: int = 128,
        dropout: float = 0.5,
        layers: int = 2,
        heads: int = 4,
        ffn: int = 128,
        positions: PositionKind = "sinusoidal",
    ) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        sizes: Any = {"heads": heads, "ffn": ffn, "dropout": dropout}
        self.image_positions, self.text_positions = Positions(positions, hidden), Positions(positions, hidden)
        self.image_layers = blocks(layers, hidden, **sizes, sides=("image", "text"))
        self.text_layers = blocks(layers, hidden, **sizes, sides=("text", "image"))
        self.image_self = Block(hidden, **sizes, sides=("image", "image"))
        self.text_self = Block(hidden, **sizes, sides=("text", "text"))
        self.classify = classifier(2 * hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, image_mask, text, text_mask = self.project_tokens(inputs)  # (B, P, H) … (B, T, H) …
        image, text = self.image_positions(image), self.text_positions(text)
        crossed_image, crossed_text = image, text
        for image_layer, text_layer in zip(self.image_layers, self.text_layers, strict=True):
            crossed_image = image_layer(crossed_image, text, text_mask)
            crossed_text = text_layer(crossed_text, image, image_mask)
        pooled = [
            self.image_self(crossed_image[..., :1, :], crossed_image, image_mask),
            self.text_self(crossed_text[..., :1, :], crossed_text, text_mask),
        ]  # (B, 1, H) each
        return self.classify(torch.cat(pooled, -1)[..., 0, :])  # (B, K)
