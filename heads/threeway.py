"""Three-way fusion: image to text, text to image and image to image attention, averaged over all positions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .base import Dims, Head, Inputs, masked_mean
from .block import Attention
from .dropout import Dropout
from .positions import PositionKind, Positions
from .recording import Sides

WAYS: tuple[Sides, ...] = (("image", "text"), ("text", "image"), ("image", "image"), ("text", "text"))


class ThreewayHead(Head):
    """logits = W mean([relu(image ← text); relu(text ← image); relu(image ← image)]), over all positions.

    Each a ← b is multi-head attention of queries a to context b (Vaswani et al., 2017), without residual connection.
    `ways` 4 adds text ← text. `positions` is the position encoding of both sequences, `joined` ("sum" or "concat") how
    it is combined with their vectors.

    Raises ValueError when `heads` does not divide `hidden`, or on another value of `ways` or `joined`, or when
    `joined` is "concat" and `positions` "none".
    """

    def __init__(
        self,
        dims: Dims,
        *,
        hidden: int = 128,
        dropout: float = 0.5,
        heads: int = 8,
        ways: int = 3,
        positions: PositionKind = "sinusoidal",
        joined: Literal["sum", "concat"] = "sum",
    ) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        if ways not in (3, 4):
            raise ValueError(f"threeway takes ways 3 or 4 (with text to text attention), got {ways!r}")
        if joined not in ("sum", "concat"):
            raise ValueError(f"threeway takes positions joined by 'sum' or 'concat', got {joined!r}")
        if joined == "concat" and positions == "none":
            raise ValueError("there are no positions to concat; set positions to sinusoidal or learned")
        self.joined = joined
        self.image_positions, self.text_positions = Positions(positions, hidden), Positions(positions, hidden)
        width = 2 * hidden if joined == "concat" else hidden
        self.ways = nn.ModuleList(Attention(width, hidden, heads=heads, sides=sides) for sides in WAYS[:ways])
        self.classify = nn.Sequential(Dropout(dropout), nn.Linear(hidden, dims.classes))

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image_tokens, image_mask, text_tokens, text_mask = self.project_tokens(inputs)  # (B, P, H) … (B, T, H) …
        streams = {
            "image": (self._with_positions(image_tokens, self.image_positions), image_mask),
            "text": (self._with_positions(text_tokens, self.text_positions), text_mask),
        }
        pairs = [(streams[queries], streams[context]) for queries, context in WAYS[: len(self.ways)]]
        attended = [way(queries, *context) for way, ((queries, _), context) in zip(self.ways, pairs, strict=True)]
        mask = torch.cat([mask for (_, mask), _ in pairs], -1)  # (B, 2P + T)
        return self.classify(masked_mean(torch.cat(attended, -2).relu(), mask))  # (B, K)

    def _with_positions(self, tokens: Tensor, positions: Positions) -> Tensor:
        """Combine tokens (B, L, H) with position vectors: (B, L, H) by sum, (B, L, 2H) by concat."""
        if self.joined == "sum":
            summed: Tensor = positions(tokens)
            return summed
        return torch.cat([tokens, positions.vectors(tokens).expand_as(tokens)], -1)
