"""What comes out of one fold: trained heads, and what they say together of its test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...heads.base import Head
from ..data.inputs import Reduction
from ..data.split import Fold
from .loop import EpochRecord


@dataclass(frozen=True)
class FoldResult:
    """One fold's trained heads and what they say together of its test rows: logits (n, K), in the order of `score`.

    `histories` and `best_epochs` have one entry per head. Logits of several heads, or views, are the log of their mean
    probability. `valid_logits` (S, K) are what each head says of the rows that it was stopped on, `valid_rows` (S,).
    """

    fold: Fold
    heads: list[Head]
    reductions: dict[str, Reduction]
    histories: list[list[EpochRecord]]
    best_epochs: list[int]
    logits: NDArray[np.float32]
    metrics: dict[str, float]
    valid_rows: NDArray[np.int64]
    valid_logits: NDArray[np.float32]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities (n, K) of logits (n, K)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def log_mean(logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Logits (n, K) whose softmax is the mean of the softmax of each of the given logits (n, K); of one, itself."""
    if len(logits) == 1:
        return logits[0]
    mean = np.mean([softmax(one) for one in logits], axis=0)
    return np.asarray(np.log(np.maximum(mean, np.finfo(np.float64).tiny)), np.float32)
