"""Recurrent fusion: an LSTM or GRU reads the text word by word, and the image's vector joins what it remembers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .base import Dims, Head, Inputs, classifier

GATES = {"lstm": 4, "gru": 3}


class Recurrent(nn.Module):
    """An LSTM (Hochreiter & Schmidhuber, 1997) or GRU (Cho et al., 2014), forward alone or in both directions.

    In plain products, since torch's own has no batching rule in vmap. The state it starts with is learned; masked
    positions leave the state as it was. The maps of the state have no bias.
    """

    def __init__(self, width: int, hidden: int, *, cell: Literal["lstm", "gru"], directions: int) -> None:
        super().__init__()
        gates = GATES[cell]
        self.cell, self.directions = cell, directions
        self.heard = nn.Linear(width, directions * gates * hidden)
        self.remembered = nn.Parameter(torch.empty(directions, hidden, gates * hidden))
        self.start = nn.Parameter(torch.randn(directions, hidden) * hidden**-0.5)
        nn.init.uniform_(self.remembered, -(hidden**-0.5), hidden**-0.5)
        if cell == "lstm":  # begin by remembering
            nn.init.ones_(self.heard.bias.detach().view(directions, gates, hidden)[:, 1])

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """Map words (B, T, W) and their mask (B, T) to the last states (B, directions · H)."""
        heard = self.heard(words).unflatten(-1, (self.directions, -1)).unbind(-2)  # (B, T, G · H) per direction
        heard = torch.stack([way.flip(-2) if number else way for number, way in enumerate(heard)])
        live = torch.stack([mask.flip(-1) if number else mask for number in range(self.directions)])
        state = self.start[:, None].expand(-1, words.shape[-3], -1)  # (directions, B, H)
        memory = torch.zeros_like(state)
        step = lstm_step if self.cell == "lstm" else gru_step
        for new, alive in zip(heard.unbind(-2), live[..., None].unbind(-2), strict=True):
            next_state, next_memory = step(new, state @ self.remembered, state, memory)
            state = torch.where(alive, next_state, state)
            memory = torch.where(alive, next_memory, memory)
        return torch.cat(state.unbind(0), -1)


def lstm_step(heard: Tensor, remembered: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM: gates (…, 4 · H) in the order of torch, state and memory (…, H)."""
    enter, keep, fresh, leave = (heard + remembered).chunk(4, -1)
    memory = keep.sigmoid() * memory + enter.sigmoid() * fresh.tanh()
    return leave.sigmoid() * memory.tanh(), memory


def gru_step(heard: Tensor, remembered: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One step of a GRU: gates (…, 3 · H) in the order of torch, state (…, H); it has no memory beside its state."""
    reset, keep, fresh = heard.chunk(3, -1)
    again_reset, again_keep, again = remembered.chunk(3, -1)
    kept = (keep + again_keep).sigmoid()
    fresh = (fresh + (reset + again_reset).sigmoid() * again).tanh()
    return (1 - kept) * fresh + kept * state, memory


class RnnHead(Head):
    """logits = classify([i; the last states of a recurrent network over the text]).

    Graves & Schmidhuber, 2005. `cell` "lstm" or "gru"; `directions` 2 reads backwards too, 1 forwards alone. The
    pooled vector is read before the words.

    Raises ValueError on another `cell` or number of directions.
    """

    def __init__(
        self,
        dims: Dims,
        *,
        hidden: int = 128,
        dropout: float = 0.5,
        cell: Literal["lstm", "gru"] = "lstm",
        directions: int = 2,
    ) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        if cell not in GATES:
            raise ValueError(f"rnn takes cell 'lstm' or 'gru', got {cell!r}")
        if directions not in (1, 2):
            raise ValueError(f"rnn takes directions 1 (forwards) or 2 (backwards too), got {directions!r}")
        self.read = Recurrent(hidden, hidden, cell=cell, directions=directions)
        width = (1 + directions) * hidden
        self.classify = classifier(width, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        remembered = self.read(*self.tokens_of("text", inputs))  # (B, directions · H)
        logits: Tensor = self.classify(torch.cat([self.pooled_of("image", inputs), remembered], -1))
        return logits  # (B, K)
