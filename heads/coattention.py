"""Co-attention fusion: in each layer, image and text attend to each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import Dims, Head, Inputs, classifier, masked_mean
from .block import blocks
from .positions import PositionKind, Positions


class CoattentionHead(Head):
    """logits = classify([mean over the image; mean over the text]) after `layers` layers of mutual attention.

    Lu et al., 2019 (ViLBERT). Each layer attends to the other modality's output of the layer before. `heads` attention
    heads, `ffn` the width of the feed-forward layers, `positions` the position encoding of both sequences.

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
        sizes: Any = {"heads": heads, "ffn": ffn, "dropout": dropout}
        self.image_positions, self.text_positions = Positions(positions, hidden), Positions(positions, hidden)
        self.image_layers = blocks(layers, hidden, **sizes, sides=("image", "text"))
        self.text_layers = blocks(layers, hidden, **sizes, sides=("text", "image"))
        self.classify = classifier(2 * hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, image_mask, text, text_mask = self.project_tokens(inputs)  # (B, P, H) … (B, T, H) …
        image, text = self.image_positions(image), self.text_positions(text)
        for image_layer, text_layer in zip(self.image_layers, self.text_layers, strict=True):
            image, text = image_layer(image, text, text_mask), text_layer(text, image, image_mask)
        fused = torch.cat([masked_mean(image, image_mask), masked_mean(text, text_mask)], -1)  # (B, 2H)
        return self.classify(fused)  # (B, K)
