"""Heads that train side by side, from epoch to epoch: what sweeps call, and where fusion is switched off."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...heads.base import Head
from ..config.train_config import TrainConfig
from ..data.ragged_inputs import RaggedInputs
from ..data.split import Fold
from .fused_training import FusedTraining
from .separate_training import SeparateTraining

Training = FusedTraining | SeparateTraining


def begin_training(
    heads: Sequence[Head],
    configs: Sequence[TrainConfig],
    inputs: RaggedInputs,
    labels: Tensor,
    fold: Fold,
    *,
    fused: bool = True,
) -> Training:
    """Start the training of new heads, in place: fused, or each alone by `fit`. No epoch is trained yet.

    `inputs` hold N rows, `labels` (N,) class indices; `fold.test` is not read. Fused heads have one architecture
    (dropout rates may differ) and configs of one `batch_key`. Heads are known by their numbers. Inputs are given for
    each call, and not kept. Raises ValueError as `fit`, or where heads cannot be fused.
    """
    return (FusedTraining if fused else SeparateTraining)(heads, configs, inputs, labels, fold)
