"""Batches of items of similar length, and what is done with one that the memory is too short for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..encoders.encoder import Encoded, Encoder
from ..messages import is_out_of_memory


def batches(lengths: Sequence[int], budget: int) -> Iterator[range]:
    """Cut items sorted by descending length into runs whose padded cost, items x longest, stays within the budget."""
    start = 0
    while start < len(lengths):
        stop = start + max(1, budget // max(1, lengths[start]))
        yield range(start, min(stop, len(lengths)))
        start = stop


def encode_in_halves(
    encoder: Encoder, batch: Sequence[Any], shrink: Callable[[Sequence[Any]], None]
) -> tuple[Encoded, ...]:
    """What the encoder gives for a batch of prepared items; in halves where the memory is too short for all of it.

    `shrink` is told each first half. Raises the error of the encoder where the memory is too short for one item.
    """
    try:
        return encoder.encode(batch)
    except Exception as error:
        if len(batch) == 1 or not is_out_of_memory(error):
            raise
    # here the error is gone, and with it what its frames kept in memory
    half = (len(batch) + 1) // 2
    shrink(batch[:half])
    parts = [encode_in_halves(encoder, some, shrink) for some in (batch[:half], batch[half:])]
    return tuple(
        Encoded(np.concatenate([one.pooled for one in of_spec]), [tokens for one in of_spec for tokens in one.tokens])
        for of_spec in zip(*parts, strict=True)
    )
