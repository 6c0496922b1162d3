"""The layer that attends: one sequence asks another, or itself; every head with a Transformer in it is built of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import attend
from .dropout import Dropout


class Attention(nn.Module):
    """What a sequence hears when it asks another: softmax(Q Kᵀ / √d) V by `heads` heads, from `width` to `hidden`.

    The answering sequence is joined by one learned position, the sink, so that a query may take nothing from it;
    with a single answering position (pooled vectors) this makes the attention a gate instead of a constant.

    Raises ValueError when `heads` does not divide `hidden`.
    """

    def __init__(self, width: int, hidden: int, *, heads: int) -> None:
        super().__init__()
        if heads < 1 or hidden % heads:
            raise ValueError(
                f"hidden must be a multiple of heads, got hidden {hidden!r} and heads {heads!r}; "
                f"set hidden to {max(heads, 1) * max(1, round(hidden / max(heads, 1)))} or change heads"
            )
        self.heads = heads
        self.sink = nn.Parameter(torch.randn(width) * width**-0.5)
        self.query = nn.Linear(width, hidden)
        self.key = nn.Linear(width, hidden, bias=False)  # softmax cancels a bias here
        self.value = nn.Linear(width, hidden)

    def forward(self, asking: Tensor, answering: Tensor, mask: Tensor) -> Tensor:
        """Map asking (B, Q, W), answering (B, S, W) and its mask (B, S) to (B, Q, H)."""
        sink = self.sink.expand(*answering.shape[:-2], 1, -1)  # (B, 1, W)
        answering = torch.cat([sink, answering], -2)  # (B, 1 + S, W)
        mask = torch.cat([torch.ones_like(mask[..., :1]), mask], -1)  # (B, 1 + S)
        return attend(self.query(asking), self.key(answering), self.value(answering), mask, self.heads)


class FeatureDropout(Dropout):
    """Dropout of whole features of a post, at all its positions at once (Gal & Ghahramani, 2016).

    For sequences that are joined end to end, where the place of an element depends on the padding of another.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, L, H) to a tensor of its shape."""
        return x * super().forward(torch.ones_like(x[..., :1, :]))


class Block(nn.Module):
    """One layer in which a sequence asks another: attention, feed-forward, each with residual and LayerNorm.

    With a sequence that asks itself it is the layer of a Transformer encoder. `joined` says that the sequences are
    several joined end to end.

    Vaswani et al., 2017. Raises ValueError when `heads` does not divide `hidden` or `ffn` is below 1.
    """

    def __init__(self, hidden: int, *, heads: int, ffn: int, dropout: float, joined: bool = False) -> None:
        super().__init__()
        if ffn < 1:
            raise ValueError(f"ffn must be 1 or more, got {ffn!r}; the hidden width or a few times it is usual")
        self.attention = Attention(hidden, hidden, heads=heads)
        self.out = nn.Linear(hidden, hidden)
        self.attended = nn.LayerNorm(hidden)
        self.feedforward = nn.Sequential(nn.Linear(hidden, ffn), nn.GELU(), nn.Linear(ffn, hidden))
        self.refined = nn.LayerNorm(hidden)
        kind = FeatureDropout if joined else Dropout
        self.drop_heard, self.drop_fed = kind(dropout), kind(dropout)  # two, since a layer's key is its mask

    def forward(self, asking: Tensor, answering: Tensor, mask: Tensor) -> Tensor:
        """Map asking (B, Q, H), answering (B, S, H) and its mask (B, S) to (B, Q, H)."""
        heard = self.attention(asking, answering, mask)
        asking = self.attended(asking + self.drop_heard(self.out(heard)))
        refined: Tensor = self.refined(asking + self.drop_fed(self.feedforward(asking)))
        return refined  # (B, Q, H)


def blocks(layers: int, hidden: int, *, heads: int, ffn: int, dropout: float, joined: bool = False) -> nn.ModuleList:
    """A stack of blocks, each with weights of its own. Raises ValueError when `layers` is below 1."""
    if layers < 1:
        raise ValueError(f"layers must be 1 or more, got {layers!r}; 2 is usual")
    return nn.ModuleList(Block(hidden, heads=heads, ffn=ffn, dropout=dropout, joined=joined) for _ in range(layers))
