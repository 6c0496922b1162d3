"""Directional cross-modal Transformers: each modality is rewritten by the other's, then asks itself."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Dims, Head, Inputs, classifier
from .block import Block, blocks
from .positions import PositionKind, Positions


class MultHead(Head):
    """logits = classify([i; t]), i and t the pooled positions of sequences that asked the other, then themselves.

    Tsai et al., 2019. Each of the `layers` layers of a direction asks the other modality as it came, so neither
    direction depends on the other. `heads` attention heads, `ffn` the width of the feed-forward layers,
    `positions` what both sequences know of their order.

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
        self.image_positions, self.text_positions = Positions(positions, hidden), Positions(positions, hidden)
        self.image_asks = blocks(layers, hidden, heads=heads, ffn=ffn, dropout=dropout)
        self.text_asks = blocks(layers, hidden, heads=heads, ffn=ffn, dropout=dropout)
        self.image_itself = Block(hidden, heads=heads, ffn=ffn, dropout=dropout)
        self.text_itself = Block(hidden, heads=heads, ffn=ffn, dropout=dropout)
        self.classify = classifier(2 * hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, image_mask, text, text_mask = self.project_tokens(inputs)  # (B, P, H) … (B, T, H) …
        image, text = self.image_positions(image), self.text_positions(text)
        informed_image, informed_text = image, text
        for image_asks, text_asks in zip(self.image_asks, self.text_asks, strict=True):
            informed_image = image_asks(informed_image, text, text_mask)
            informed_text = text_asks(informed_text, image, image_mask)
        ends = [
            self.image_itself(informed_image[..., :1, :], informed_image, image_mask),
            self.text_itself(informed_text[..., :1, :], informed_text, text_mask),
        ]  # (B, 1, H) each
        logits: Tensor = self.classify(torch.cat(ends, -1)[..., 0, :])
        return logits  # (B, K)
