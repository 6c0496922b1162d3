"""Transformer fusion: one encoder over the tokens of both modalities."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Dims, Head, Inputs, classifier
from .block import blocks
from .positions import PositionKind, Positions


class TransformerHead(Head):
    """logits = classify([i; t]), the pooled positions after `layers` layers of self-attention over both sequences.

    Vaswani et al., 2017. The biases of the two projections act as modality embeddings. `heads` attention heads, `ffn`
    the width of the feed-forward layers, `positions` the position encoding of each sequence. The last layer computes
    only the two pooled positions.

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
        self.layers = blocks(layers, hidden, heads=heads, ffn=ffn, dropout=dropout, joined=True, sides=("both", "both"))
        self.classify = classifier(2 * hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, image_mask, text, text_mask = self.project_tokens(inputs)  # (B, P, H) … (B, T, H) …
        both = torch.cat([self.image_positions(image), self.text_positions(text)], -2)  # (B, P + T, H)
        mask = torch.cat([image_mask, text_mask], -1)  # (B, P + T)
        *inner, final = self.layers
        for layer in inner:
            both = layer(both, both, mask)
        pooled = torch.stack([both[..., 0, :], both[..., image.shape[-2], :]], -2)  # (B, 2, H)
        return self.classify(final(pooled, both, mask).flatten(-2))  # (B, K)
