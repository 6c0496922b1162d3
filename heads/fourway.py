"""Four-way fusion: each modality by itself and by what it hears from the other, all four added."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Dims, Head, Inputs, classifier, masked_mean
from .block import Block
from .positions import PositionKind, Positions


class FourwayHead(Head):
    """logits = classify(i' + i'' + t + t''): four streams, an image's mean over positions, a text's last token.

    i' is the image that asked itself, i'' and t'' asked the other modality, then themselves, t is the text as it is.
    Attention as in Vaswani et al., 2017. `heads` attention heads, `ffn` the width of the feed-forward layers,
    `positions` what the image knows of its order ("sinusoidal" are absolute ones).

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

        def block() -> Block:
            return Block(hidden, heads=heads, ffn=ffn, dropout=dropout)

        self.positions = Positions(positions, hidden)
        self.image_itself = block()
        self.image_asks, self.image_asks_itself = block(), block()
        self.text_asks, self.text_asks_itself = block(), block()
        self.classify = classifier(hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, image_mask, text, text_mask = self.project_tokens(inputs)  # (B, P, H) … (B, T, H) …
        image = self.positions(image)
        informed_image = self.image_asks(image, text, text_mask)  # (B, P, H)
        informed_text = self.text_asks(text, image, image_mask)  # (B, T, H)
        streams = [
            masked_mean(self.image_itself(image, image, image_mask), image_mask),
            masked_mean(self.image_asks_itself(informed_image, informed_image, image_mask), image_mask),
            last(text, text_mask),
            self.text_asks_itself(last(informed_text, text_mask)[..., None, :], informed_text, text_mask)[..., 0, :],
        ]
        logits: Tensor = self.classify(torch.stack(streams).sum(0))
        return logits  # (B, K)


def last(tokens: Tensor, mask: Tensor) -> Tensor:
    """The last of the tokens (B, L, H) that the mask (B, L) allows: (B, H)."""
    place = torch.arange(mask.shape[-1], device=mask.device)
    final = (place * mask).amax(-1, keepdim=True)  # (B, 1)
    return torch.where((place == final)[..., None], tokens, 0.0).sum(-2)
