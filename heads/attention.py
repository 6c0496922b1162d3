"""Cross-attention fusion: the image asks, the text answers."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Dims, Head, Inputs, classifier, masked_mean, summarise
from .block import Block
from .positions import PositionKind, Positions


class AttentionHead(Head):
    """logits = classify([mean over the image of what it heard from the text; the text's and the image's summary]).

    Tsai et al., 2019, in one direction. `heads` attention heads, `ffn` the width of the feed-forward layer,
    `positions` what both sequences know of their order.

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
        self.ask = Block(hidden, heads=heads, ffn=ffn, dropout=dropout)
        self.classify = classifier(3 * hidden, hidden=hidden, classes=dims.classes, dropout=dropout)
        self.image_positions, self.text_positions = Positions(positions, hidden), Positions(positions, hidden)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, image_mask, text, text_mask = self.project_tokens(inputs)  # (B, P, H) … (B, T, H) …
        image, text = self.image_positions(image), self.text_positions(text)
        heard = masked_mean(self.ask(image, text, text_mask), image_mask)  # (B, H)
        own = [summarise(text, text_mask), summarise(image, image_mask)]  # (B, H) each
        logits: Tensor = self.classify(torch.cat([heard, *own], -1))
        return logits  # (B, K)
