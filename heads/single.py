"""Single-modality heads, the baselines of fusion heads."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from .base import Dims, Head, Inputs, Modality, classifier


class SingleHead(Head):
    """logits = classify(v), v the pooled vector of the one modality that the subclass reads."""

    reads: ClassVar[tuple[Modality, ...]]

    def __init__(self, dims: Dims, *, hidden: int = 128, dropout: float = 0.5) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        self.classify = classifier(hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        return self.classify(self.pooled_of(self.reads[0], inputs))  # (B, K)


class ImageHead(SingleHead):
    """The image alone."""

    reads = ("image",)


class TextHead(SingleHead):
    """The text alone."""

    reads = ("text",)
