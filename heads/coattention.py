"""Co-attention fusion: image and text ask each other, layer upon layer."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Dims, Head, Inputs, classifier, masked_mean
from .block import blocks
from .positions import PositionKind, Positions


class CoattentionHead(Head):
    """logits = classify([mean over the image; mean over the text]), after `layers` layers in which each asks the other.

    Lu et al., 2019. In a layer both ask what the layer before gave. `heads` attention heads, `ffn` the width of the
    feed-forward layers, `positions` what both sequences know of their order.

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
        positions: PositionKind = "none",
    ) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        self.image_positions, self.text_positions = Positions(positions, hidden), Positions(positions, hidden)
        self.image_asks = blocks(layers, hidden, heads=heads, ffn=ffn, dropout=dropout)
        self.text_asks = blocks(layers, hidden, heads=heads, ffn=ffn, dropout=dropout)
        self.classify = classifier(2 * hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, image_mask, text, text_mask = self.project_tokens(inputs)  # (B, P, H) … (B, T, H) …
        image, text = self.image_positions(image), self.text_positions(text)
        for image_asks, text_asks in zip(self.image_asks, self.text_asks, strict=True):
            image, text = image_asks(image, text, text_mask), text_asks(text, image, image_mask)
        fused = torch.cat([masked_mean(image, image_mask), masked_mean(text, text_mask)], -1)  # (B, 2H)
        logits: Tensor = self.classify(fused)
        return logits  # (B, K)
