"""Cross-attention fusion: image queries attend to text keys and values."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Dims, Head, Inputs, attention_pool, classifier, masked_mean
from .block import Block
from .positions import PositionKind, Positions


class AttentionHead(Head):
    """logits = classify([mean over the image of its attention to the text; pooled text; pooled image]).

    Tsai et al., 2019, in one direction. `heads` attention heads, `ffn` the width of the feed-forward layer,
    `positions` the position encoding of both sequences.

    Raises ValueError when `heads` does not divide `hidden`.
    """

    def __init__(
        self,
        dims: Dims,
        *,
        hidden: int = 128,
        dropout: float = 0.5,
        heads: int = 4,
        ffn: int = 128,
        positions: PositionKind = "none",
    ) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        self.cross_attention = Block(hidden, heads=heads, ffn=ffn, dropout=dropout, sides=("image", "text"))
        self.classify = classifier(3 * hidden, hidden=hidden, classes=dims.classes, dropout=dropout)
        self.image_positions, self.text_positions = Positions(positions, hidden), Positions(positions, hidden)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, image_mask, text, text_mask = self.project_tokens(inputs)  # (B, P, H) … (B, T, H) …
        image, text = self.image_positions(image), self.text_positions(text)
        attended = masked_mean(self.cross_attention(image, text, text_mask), image_mask)  # (B, H)
        pooled = [attention_pool(text, text_mask, "text"), attention_pool(image, image_mask, "image")]  # (B, H) each
        return self.classify(torch.cat([attended, *pooled], -1))  # (B, K)
