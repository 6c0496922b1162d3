"""Transformer fusion of pooled vectors: an encoder over one position per modality."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Dims, Head, Inputs, classifier
from .block import blocks


class OteHead(Head):
    """logits = classify([i; t]) after `layers` layers of self-attention over the two vectors of a post.

    Vaswani et al., 2017. `heads` attention heads, `ffn` the width of the feed-forward layers.

    Raises ValueError when `heads` does not divide `hidden` or `layers` is below 1.
    """

    def __init__(
        self, dims: Dims, *, hidden: int = 128, dropout: float = 0.5, layers: int = 2, heads: int = 4, ffn: int = 128
    ) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        self.layers = blocks(layers, hidden, heads=heads, ffn=ffn, dropout=dropout, sides=("both", "both"))
        self.classify = classifier(2 * hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        both = torch.stack(self.project_pooled(inputs), -2)  # (B, 2, H)
        mask = torch.ones(both.shape[:-1], dtype=torch.bool, device=both.device)
        for layer in self.layers:
            both = layer(both, both, mask)
        return self.classify(both.flatten(-2))  # (B, K)
