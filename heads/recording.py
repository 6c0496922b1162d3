"""Records the attention weights and the modality weights of a head's forward pass, where a caller asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor, nn

Side = Literal["image", "text", "both"]  # both: the positions of the image, then those of the text
Sides = tuple[Side, Side]  # of the queries, and of the keys and values


class AttentionMap(NamedTuple):
    """The weights with which Q queries of B posts attended to S positions, in each of h attention heads.

    The weights (B, h, Q, S) of a query and its weight on the attention sink (B, h, Q) add up to 1; padding has 0.
    Position 0 of a side is its pooled vector. `queries` are all positions of that side, or its pooled ones only.
    """

    layer: str
    queries: Side
    keys: Side
    weights: Tensor
    sink: Tensor


@dataclass(frozen=True)
class Recording:
    """What one forward pass recorded: attention maps in the order of computation, and weights (B,) of modalities.

    Both are empty for a head that has neither. Weights of modalities add up to 1; `both` is a classifier of both.
    """

    names: Mapping[nn.Module, str]
    maps: list[AttentionMap] = field(default_factory=list)
    shares: dict[Side, Tensor] = field(default_factory=dict)


# One per thread and task, so that a recording holds nothing of another's forward pass.
_active: ContextVar[Recording | None] = ContextVar("recording", default=None)


@contextmanager
def record(head: nn.Module) -> Iterator[Recording]:
    """Record the forward pass of a head inside the block; its numbers do not change."""
    recording = Recording({module: name.removesuffix(".attention") for name, module in head.named_modules()})
    token = _active.set(recording)
    try:
        yield recording
    finally:
        _active.reset(token)


@contextmanager
def unrecorded() -> Iterator[None]:
    """Record nothing inside the block."""
    token = _active.set(None)
    try:
        yield
    finally:
        _active.reset(token)


def note_layer(layer: nn.Module, sides: Sides | None, weights: Tensor) -> None:
    """Record the weights (B, h, Q, 1 + S) of an attention layer, the sink first; without `sides`, nothing."""
    recording = _active.get()
    if recording is not None and sides is not None:
        rest = weights[..., 1:], weights[..., 0]
        recording.maps.append(AttentionMap(recording.names[layer], *sides, *rest))


def note_pooling(modality: Literal["image", "text"], weights: Tensor) -> None:
    """Record the weights (B, 1, 1, S) of the attention pooling of one modality."""
    recording = _active.get()
    if recording is not None:
        recording.maps.append(
            AttentionMap("pooling", modality, modality, weights, weights.new_zeros(weights.shape[:-1]))
        )


def note_shares(shares: Callable[[], Mapping[Side, Tensor]]) -> None:
    """Record the weight (B,) that each modality has in the fused vector, or in the combined decision."""
    recording = _active.get()
    if recording is not None:
        recording.shares.update(shares())
