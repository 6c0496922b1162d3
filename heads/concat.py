"""Concatenation fusion: a perceptron on both vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Dims, Head, Inputs, classifier
from .dropout import Dropout


class ConcatHead(Head):
    """logits = classify([i; t]).

    Ngiam et al., 2011. With `layers` 0 the classifier is linear in the projected vectors, with 1 a perceptron.

    Raises ValueError when `layers` is neither.
    """

    def __init__(self, dims: Dims, *, hidden: int = 128, dropout: float = 0.5, layers: int = 1) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        if layers not in (0, 1):
            raise ValueError(f"concat takes layers 0 (linear) or 1 (a perceptron), got {layers!r}")
        self.classify = (
            classifier(2 * hidden, hidden=hidden, classes=dims.classes, dropout=dropout)
            if layers
            else nn.Sequential(Dropout(dropout), nn.Linear(2 * hidden, dims.classes))
        )

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, text = self.project_pooled(inputs)  # (B, H) each
        return self.classify(torch.cat([image, text], -1))  # (B, K)
