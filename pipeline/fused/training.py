"""Heads that train side by side, from epoch to epoch: what sweeps call, and where fusion is switched off."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...heads.base import Head, Inputs
from ..config.train_config import TrainConfig
from ..training.loop import Rows
from .fused_training import FusedTraining
from .separate_training import SeparateTraining

Training = FusedTraining | SeparateTraining


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
    configs of one `batch_key`. Heads are known by their numbers. Inputs are given for each call, and not kept. Raises
    ValueError as `fit`, or where heads cannot be fused.
    """
    kind = FusedTraining if fused else SeparateTraining
    return kind(heads, configs, inputs, labels, train_rows=train_rows, valid_rows=valid_rows)
