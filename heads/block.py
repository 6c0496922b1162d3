"""Attention and Transformer layers, from which all attention heads are built."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from .base import attend
from .dropout import Dropout
from .recording import Sides, note_layer


class Attention(nn.Module):
    """Multi-head attention softmax(Q Kᵀ / √d) V with `heads` heads, from `width` to `hidden`.

    Vaswani et al., 2017. One learned position, the attention sink (Xiao et al., 2024), is added to the context, so that
    a query may attend to none of it. With a single context position (pooled vectors) this makes the attention a gate
    instead of a constant. `sides` name the queries and the context where the weights are recorded.

    Raises ValueError when `heads` does not divide `hidden`.
    """

    def __init__(self, width: int, hidden: int, *, heads: int, sides: Sides | None = None) -> None:
        super().__init__()
        if heads < 1 or hidden % heads:
            raise ValueError(
                f"hidden must be a multiple of heads, got hidden {hidden!r} and heads {heads!r}; "
                f"set hidden to {max(heads, 1) * max(1, round(hidden / max(heads, 1)))} or change heads"
            )
        self.heads, self.sides = heads, sides
        self.sink = nn.Parameter(torch.randn(width) * width**-0.5)
        self.query = nn.Linear(width, hidden)
        self.key = nn.Linear(width, hidden, bias=False)  # softmax cancels a bias here
        self.value = nn.Linear(width, hidden)

    def forward(self, queries: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Map queries (B, Q, W), the context (B, S, W) and its mask (B, S) to (B, Q, H)."""
        sink = self.sink.expand(*context.shape[:-2], 1, -1)  # (B, 1, W)
        context = torch.cat([sink, context], -2)  # (B, 1 + S, W)
        mask = torch.cat([torch.ones_like(mask[..., :1]), mask], -1)  # (B, 1 + S)
        note = partial(note_layer, self, self.sides)
        return attend(self.query(queries), self.key(context), self.value(context), mask, self.heads, note)


class FeatureDropout(Dropout):
    """Dropout with one mask for all positions of a post (Gal & Ghahramani, 2016).

    For concatenated sequences, in which the position of an element depends on the padding before it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, L, H) to a tensor of its shape."""
        return x * super().forward(torch.ones_like(x[..., :1, :]))


class Block(nn.Module):
    """A Transformer layer: attention and feed-forward, each with dropout, residual connection and LayerNorm.

    Queries and context may be the same sequence (self-attention). `joined` is for concatenated sequences,
    `sides` as in Attention.

    Vaswani et al., 2017. Raises ValueError when `heads` does not divide `hidden` or `ffn` is below 1.
    """

    def __init__(
        self,
        hidden: int,
        *,
        heads: int,
        ffn: int,
        dropout: float,
        joined: bool = False,
        sides: Sides | None = None,
    ) -> None:
        super().__init__()
        if ffn < 1:
            raise ValueError(f"ffn must be 1 or more, got {ffn!r}; the hidden width or a few times it is usual")
        self.attention = Attention(hidden, hidden, heads=heads, sides=sides)
        self.out = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden)
        self.feedforward = nn.Sequential(nn.Linear(hidden, ffn), nn.GELU(), nn.Linear(ffn, hidden))
        self.feedforward_norm = nn.LayerNorm(hidden)
        kind = FeatureDropout if joined else Dropout
        self.attention_dropout, self.feedforward_dropout = kind(dropout), kind(dropout)  # one layer has one mask a step

    def forward(self, queries: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Map queries (B, Q, H), the context (B, S, H) and its mask (B, S) to (B, Q, H)."""
        attended = self.attention_dropout(self.out(self.attention(queries, context, mask)))
        x = self.attention_norm(queries + attended)
        output: Tensor = self.feedforward_norm(x + self.feedforward_dropout(self.feedforward(x)))
        return output  # (B, Q, H)


def blocks(
    layers: int,
    hidden: int,
    *,
    heads: int,
    ffn: int,
    dropout: float,
    joined: bool = False,
    sides: Sides | None = None,
) -> nn.ModuleList:
    """A stack of blocks with separate weights. Raises ValueError when `layers` is below 1."""
    if layers < 1:
        raise ValueError(f"layers must be 1 or more, got {layers!r}; 2 is usual")
    return nn.ModuleList(
        Block(hidden, heads=heads, ffn=ffn, dropout=dropout, joined=joined, sides=sides) for _ in range(layers)
    )
