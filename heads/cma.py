"""Cross-modal attention over features: one softmax, computed from both vectors, weights the features of both."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Dims, Head, Inputs, classifier


class CmaHead(Head):
    """logits = classify([a * i; a * t]), a = softmax(W [i; t]) over features, i and t after ReLU."""

    def __init__(self, dims: Dims, *, hidden: int = 128, dropout: float = 0.5) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        self.score = nn.Linear(2 * hidden, hidden)
        self.classify = classifier(2 * hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, text = (vector.relu() for vector in self.project_pooled(inputs))  # (B, H) each
        share = self.score(torch.cat([image, text], -1)).softmax(-1)  # (B, H)
        return self.classify(torch.cat([share * image, share * text], -1))  # (B, K)
