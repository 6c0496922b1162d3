"""Gated fusion: a learned gate weights image against text, feature by feature."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Dims, Head, Inputs, classifier
from .recording import note_shares


class GatedHead(Head):
    """Weighted sum of two vectors: g = sigmoid(W [i; t]), z = g tanh(i) + (1 - g) tanh(t), logits = classify(z).

    Arevalo et al., 2017 (gated multimodal unit).
    """

    def __init__(self, dims: Dims, *, hidden: int = 128, dropout: float = 0.5) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        self.gate = nn.Linear(2 * hidden, hidden)
        self.classify = classifier(hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, text = self.project_pooled(inputs)  # (B, H) each
        gate = torch.sigmoid(self.gate(torch.cat([image, text], -1)))  # (B, H)
        note_shares(lambda: {"image": gate.mean(-1), "text": 1 - gate.mean(-1)})
        return self.classify(gate * image.tanh() + (1 - gate) * text.tanh())  # (B, K)
