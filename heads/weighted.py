"""Weighted fusion: one weight per modality, fixed or learned per post."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .base import Dims, Head, Inputs, classifier
from .recording import note_shares


class WeightedHead(Head):
    """logits = classify(α i + β t), α + β = 1.

    `weights` "learned" computes (α, β) = softmax(W [i; t]) for each post, as in Gu et al., 2018; "fixed" is ½ and ½.

    Raises ValueError on another value of `weights`.
    """

    def __init__(
        self,
        dims: Dims,
        *,
        hidden: int = 128,
        dropout: float = 0.5,
        weights: Literal["learned", "fixed"] = "learned",
    ) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        if weights not in ("learned", "fixed"):
            raise ValueError(f"weighted takes weights 'learned' or 'fixed', got {weights!r}")
        self.score = nn.Linear(2 * hidden, 2) if weights == "learned" else None
        self.classify = classifier(hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, text = self.project_pooled(inputs)  # (B, H) each
        if self.score is None:
            share = image.new_full((*image.shape[:-1], 2), 0.5)  # (B, 2)
            fused = (image + text) / 2
        else:
            share = self.score(torch.cat([image, text], -1)).softmax(-1)  # (B, 2)
            fused = share[..., :1] * image + share[..., 1:] * text  # (B, H)
        note_shares(lambda: {"image": share[..., 0], "text": share[..., 1]})
        return self.classify(fused)  # (B, K)
