"""Four-way fusion: the sum of self-attended and cross-attended streams of both modalities."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Dims, Head, Inputs, classifier, masked_mean
from .block import Block
from .positions import PositionKind, Positions
from .recording import Side


class FourwayHead(Head):
    """logits = classify(i' + i'' + t + t''), image streams averaged over positions, text streams at the last token.

    i' is the image after self-attention; i'' and t'' are image and text after cross-attention, then self-attention; t
    is the projected text. Attention as in Vaswani et al., 2017. `heads` attention heads, `ffn` the width of the
    feed-forward layers, `positions` the position encoding of the image.

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

        def block(queries: Side, context: Side) -> Block:
            return Block(hidden, heads=heads, ffn=ffn, dropout=dropout, sides=(queries, context))

        self.positions = Positions(positions, hidden)
        self.image_self = block("image", "image")
        self.image_cross, self.image_cross_self = block("image", "text"), block("image", "image")
        self.text_cross, self.text_cross_self = block("text", "image"), block("text", "text")
        self.classify = classifier(hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, image_mask, text, text_mask = self.project_tokens(inputs)  # (B, P, H) … (B, T, H) …
        image = self.positions(image)
        crossed_image = self.image_cross(image, text, text_mask)  # (B, P, H)
        crossed_text = self.text_cross(text, image, image_mask)  # (B, T, H)
        streams = [
            masked_mean(self.image_self(image, image, image_mask), image_mask),
            masked_mean(self.image_cross_self(crossed_image, crossed_image, image_mask), image_mask),
            last(text, text_mask),
            self.text_cross_self(last(crossed_text, text_mask)[..., None, :], crossed_text, text_mask)[..., 0, :],
        ]
        return self.classify(torch.stack(streams).sum(0))  # (B, K)


def last(tokens: Tensor, mask: Tensor) -> Tensor:
    """The last of the tokens (B, L, H) that the mask (B, L) allows: (B, H)."""
    index = torch.arange(mask.shape[-1], device=mask.device)
    final = (index * mask).amax(-1, keepdim=True)  # (B, 1)
    return torch.where((index == final)[..., None], tokens, 0.0).sum(-2)
