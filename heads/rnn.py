"""Recurrent fusion: the last state of an LSTM or GRU over the text, concatenated with the image vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from .base import Dims, Head, Inputs, classifier

GATES = {"lstm": 4, "gru": 3}
Step = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Recurrent(nn.Module):
    """An LSTM (Hochreiter & Schmidhuber, 1997) or GRU (Cho et al., 2014), unidirectional or bidirectional.

    In plain products, since torch's layers have no batching rule in vmap. The initial state is learned; masked
    positions keep the state. The hidden-to-hidden maps have no bias.
    """

    def __init__(self, width: int, hidden: int, *, cell: Literal["lstm", "gru"], directions: int) -> None:
        super().__init__()
        gates = GATES[cell]
        self.cell, self.directions = cell, directions
        self.input = nn.Linear(width, directions * gates * hidden)
        self.recurrent = nn.Parameter(torch.empty(directions, hidden, gates * hidden))
        self.initial = nn.Parameter(torch.randn(directions, hidden) * hidden**-0.5)
        nn.init.uniform_(self.recurrent, -(hidden**-0.5), hidden**-0.5)
        if cell == "lstm":  # forget gate open at the start (Jozefowicz et al., 2015)
            nn.init.ones_(self.input.bias.detach().view(directions, gates, hidden)[:, 1])

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """Map words (B, T, W) and their mask (B, T) to the last states (B, directions · H)."""
        gates = self.input(words).unflatten(-1, (self.directions, -1)).unbind(-2)  # (B, T, G · H) per direction
        gates = torch.stack([one.flip(-2) if number else one for number, one in enumerate(gates)])
        valid = torch.stack([mask.flip(-1) if number else mask for number in range(self.directions)])
        state = self.initial[:, None].expand(-1, words.shape[-3], -1)  # (directions, B, H)
        memory = torch.zeros_like(state)
        step = lstm_step if self.cell == "lstm" else gru_step
        if torch.compiler.is_exporting():
            state = scan_words(step, self.recurrent, gates, valid, state, memory)
        else:
            for at_word, is_word in zip(gates.unbind(-2), valid[..., None].unbind(-2), strict=True):
                next_state, next_memory = step(at_word, state @ self.recurrent, state, memory)
                state = torch.where(is_word, next_state, state)
                memory = torch.where(is_word, next_memory, memory)
        return torch.cat(state.unbind(0), -1)


def scan_words(step: Step, recurrent: Tensor, gates: Tensor, valid: Tensor, state: Tensor, memory: Tensor) -> Tensor:
    """The last state (directions, B, H) as one operator, which an exported graph applies to any number of words.

    Not used for training, since it has no batching rule in vmap.
    """
    from torch._higher_order_ops.scan import scan

    def one_word(carry: list[Tensor], at: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        (state, memory), (at_word, is_word) = carry, at
        found = step(at_word, torch.bmm(state, recurrent), state, memory)
        carry = [torch.where(is_word, new, old) for new, old in zip(found, carry, strict=True)]
        return carry, [state.new_zeros(())]  # an output per word, which it must have

    words = [gates.movedim(-2, 0), valid[..., None].movedim(-2, 0)]
    (last, _), _ = scan(one_word, [state.clone(), memory], words)  # a clone, as `state` is expanded
    result: Tensor = last
    return result


def lstm_step(from_input: Tensor, from_state: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM: gates (…, 4 · H) in the order of torch, hidden state and cell state (…, H)."""
    input_gate, forget, candidate, output = (from_input + from_state).chunk(4, -1)
    memory = forget.sigmoid() * memory + input_gate.sigmoid() * candidate.tanh()
    return output.sigmoid() * memory.tanh(), memory


def gru_step(from_input: Tensor, from_state: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One step of a GRU: gates (…, 3 · H) in the order of torch, hidden state (…, H); the cell state is unused."""
    input_reset, input_update, input_candidate = from_input.chunk(3, -1)
    state_reset, state_update, state_candidate = from_state.chunk(3, -1)
    update = (input_update + state_update).sigmoid()
    candidate = (input_candidate + (input_reset + state_reset).sigmoid() * state_candidate).tanh()
    return (1 - update) * candidate + update * state, memory


class RnnHead(Head):
    """logits = classify([i; the last states of a recurrent network over the text]).

    Graves & Schmidhuber, 2005. `cell` "lstm" or "gru"; `directions` 1 (forward) or 2 (bidirectional). The pooled vector
    is the first position of the text.

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
            raise ValueError(f"rnn takes directions 1 (forward) or 2 (bidirectional), got {directions!r}")
        self.text = Recurrent(hidden, hidden, cell=cell, directions=directions)
        width = (1 + directions) * hidden
        self.classify = classifier(width, hidden=hidden, classes=dims.classes, dropout=dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        text = self.text(*self.tokens_of("text", inputs))  # (B, directions · H)
        return self.classify(torch.cat([self.pooled_of("image", inputs), text], -1))  # (B, K)
