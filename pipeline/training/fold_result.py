"""The result of one fold: its trained heads and their logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...heads.base import Head
from ..data.split import Fold
from .loop import EpochRecord


@dataclass(frozen=True)
class FoldResult:
    """One fold's trained heads and their `logits` (n, K) of its test rows, in the order of `fold.test`.

    `histories` and `best_epochs` have one entry per head. Logits of several heads, or views, are the log of their mean
    probability. `valid_logits` (V, K) are each head's logits of its own validation rows, `valid_rows` (V,).
    """

    fold: Fold
    heads: list[Head]
    reductions: dict[str, Tensor]
    histories: list[list[EpochRecord]]
    best_epochs: list[int]
    logits: NDArray[np.float32]
    metrics: dict[str, float]
    valid_rows: NDArray[np.int64]
    valid_logits: NDArray[np.float32]
