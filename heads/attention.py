"""Cross-attention fusion: the image asks, the text answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Dims, Head, Inputs, attend, classifier, masked_mean, summarise


class CrossAttention(nn.Module):
    """One block in which a sequence asks another: attention, feed-forward, each with residual and LayerNorm.

    The answering sequence is joined by one learned position, the sink, so that a query may take nothing from it;
    with a single answering position (pooled vectors) this makes the attention a gate instead of a constant.

    Vaswani et al., 2017. Raises ValueError when `heads` does not divide `hidden` or `ffn` is below 1.
    """

    def __init__(self, hidden: int, *, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        if heads < 1 or hidden % heads:
            raise ValueError(
                f"hidden must be a multiple of heads, got hidden {hidden!r} and heads {heads!r}; "
                f"set hidden to {max(heads, 1) * max(1, round(hidden / max(heads, 1)))} or change heads"
            )
        if ffn < 1:
            raise ValueError(f"ffn must be 1 or more, got {ffn!r}; the hidden width or a few times it is usual")
        self.heads = heads
        self.sink = nn.Parameter(torch.randn(hidden) * hidden**-0.5)
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden, bias=False)  # softmax cancels a bias here
        self.value = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, hidden)
        self.attended = nn.LayerNorm(hidden)
        self.feedforward = nn.Sequential(nn.Linear(hidden, ffn), nn.GELU(), nn.Linear(ffn, hidden))
        self.refined = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, asking: Tensor, answering: Tensor, mask: Tensor) -> Tensor:
        """Map asking (B, Q, H), answering (B, S, H) and its mask (B, S) to (B, Q, H)."""
        sink = self.sink.expand(*answering.shape[:-2], 1, -1)  # (B, 1, H)
        answering = torch.cat([sink, answering], -2)  # (B, 1 + S, H)
        mask = torch.cat([torch.ones_like(mask[..., :1]), mask], -1)  # (B, 1 + S)
        heard = attend(self.query(asking), self.key(answering), self.value(answering), mask, self.heads)
        asking = self.attended(asking + self.dropout(self.out(heard)))
        refined: Tensor = self.refined(asking + self.dropout(self.feedforward(asking)))
        return refined  # (B, Q, H)


class AttentionHead(Head):
    """logits = classify([mean over the image of what it heard from the text; the text's and the image's summary]).

    Tsai et al., 2019, in one direction. `heads` attention heads, `ffn` the width of the feed-forward layer.

    Raises ValueError when `heads` does not divide `hidden`.
    """

    def __init__(self, dims: Dims, *, hidden: int = 128, dropout: float = 0.3, heads: int = 4, ffn: int = 128) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        self.ask = CrossAttention(hidden, heads=heads, ffn=ffn, dropout=dropout)
        self.classify = classifier(3 * hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image, image_mask, text, text_mask = self.project_tokens(inputs)  # (B, P, H) … (B, T, H) …
        heard = masked_mean(self.ask(image, text, text_mask), image_mask)  # (B, H)
        own = [summarise(text, text_mask), summarise(image, image_mask)]  # (B, H) each
        logits: Tensor = self.classify(torch.cat([heard, *own], -1))
        return logits  # (B, K)
