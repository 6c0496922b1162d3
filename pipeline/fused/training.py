"""Heads that train side by side, from epoch to epoch: what sweeps call, and where fusion is switched off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...heads.base import Head, Inputs
from ..config.train_config import TrainConfig
from ..training.loop import FitResult, Rows
from .fused_training import FusedTraining
from .separate_training import SeparateTraining


class Training(Protocol):
    """Heads in training, known by their numbers. Inputs are given for each call, and not kept."""

    errors: list[ValueError | None]  # why a head cannot go on

    def train_to(self, epoch: int, inputs: Inputs, views: Sequence[Inputs] = ()) -> None:
        """Train every head up to an epoch, unless it has stopped."""

    def drop(self, number: int) -> None:
        """Train a head no further, and free its memory."""

    def finish(self, number: int, inputs: Inputs) -> tuple[Head, FitResult]:
        """A copy of a head with the weights of its best epoch, calibrated, and what was done. Raises its error."""

    def logits(
        self, numbers: Sequence[int], inputs: Inputs, views: Sequence[Inputs], rows: Rows
    ) -> list[list[NDArray[np.float32]]]:
        """Logits (n, K) of `rows` on each of the views by each of these heads, as `finish` returns it."""

    def seconds(self, number: int) -> float:
        """The time that a head has trained for."""


def begin_training(
    heads: Sequence[Head],
    configs: Sequence[TrainConfig],
    inputs: Inputs,
    labels: Tensor,
    *,
    train_rows: Rows,
    valid_rows: Rows,
    fused: bool = True,
) -> Training:
    """Start the training of new heads, in place: fused, or each alone by `fit`. No epoch is trained yet.

    `inputs` hold N rows, `labels` (N,) class indices. Fused heads have one architecture (dropout rates may differ) and
    configs of one `batch_key`. Raises ValueError as `fit`, or where heads cannot be fused.
    """
    kind = FusedTraining if fused else SeparateTraining
    return kind(heads, configs, inputs, labels, train_rows=train_rows, valid_rows=valid_rows)
