"""Bilinear fusion: products of image features and text features, through a map of low rank."""

from __future__ import annotations

from torch import Tensor, nn

from .base import Dims, Head, Inputs, classifier


class BilinearHead(Head):
    """logits = classify(Σ over r of (A_r [i; 1]) * (B_r [t; 1])), `rank` terms.

    Liu et al., 2018. The ones add the terms that are linear in one modality.

    Raises ValueError when `rank` is below 1.
    """

    def __init__(self, dims: Dims, *, hidden: int = 128, dropout: float = 0.5, rank: int = 4) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        if rank < 1:
            raise ValueError(f"rank must be 1 or more, got {rank!r}; 4 is usual")
        self.rank = rank
        self.image_factors = nn.Linear(hidden, rank * hidden)
        self.text_factors = nn.Linear(hidden, rank * hidden)
        self.classify = classifier(hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, text = self.project_pooled(inputs)  # (B, H) each
        terms = self.image_factors(image) * self.text_factors(text)  # (B, R · H)
        return self.classify(terms.unflatten(-1, (self.rank, -1)).sum(-2))  # (B, K)
