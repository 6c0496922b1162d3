"""Batches of rows: shuffled, texts of similar length together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.ragged_inputs import RaggedInputs

Rows = Tensor | NDArray[np.integer] | Sequence[int]
EVAL_BATCH = 512
EVAL_BATCH_TOKENS = 128  # more take most of a training's memory, and are padded to longer texts
WINDOW = 16  # batches sorted by length together: enough to halve the padding, few enough to stay random


def shuffled_batches(rows: Tensor, inputs: RaggedInputs, size: int, shuffle: torch.Generator) -> list[Tensor]:
    """Cut shuffled rows (n,) into batches of texts of similar length; on pooled vectors, into plain batches."""
    rows = rows[torch.randperm(len(rows), generator=shuffle).to(rows.device)]
    if inputs.text.longest == 1:
        return list(torch.split(rows, size))
    windows = (window[by_length(window, inputs)] for window in torch.split(rows, size * WINDOW))
    batches = [batch for window in windows for batch in torch.split(window, size)]
    return [batches[k] for k in torch.randperm(len(batches), generator=shuffle).tolist()]


def eval_batches(rows: Tensor, inputs: RaggedInputs) -> Sequence[Tensor]:
    """Cut rows (n,) into batches for a pass without gradient."""
    pooled = inputs.image.longest == inputs.text.longest == 1
    return torch.split(rows, EVAL_BATCH if pooled else EVAL_BATCH_TOKENS)


def by_length(rows: Tensor, inputs: RaggedInputs) -> Tensor:
    """The order (n,) that sorts these rows by the lengths of their texts."""
    return inputs.text.lengths[rows].argsort(stable=True)


def as_rows(rows: Rows, device: torch.device) -> Tensor:
    """Row numbers as a tensor on a device."""
    return torch.as_tensor(rows, dtype=torch.long, device=device)


def check_split(train: Rows, valid: Rows, inputs: RaggedInputs, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Training and validation rows as tensors, the latter by length; ValueError where they cannot be used."""
    train, valid = as_rows(train, labels.device), as_rows(valid, labels.device)
    for name, rows in (("training", train), ("validation", valid)):
        if not len(rows):
            raise ValueError(f"there are no {name} rows; label more posts or make that split larger")
        low, high = int(labels[rows].min()), int(labels[rows].max())
        if low < 0 or high >= classes:
            raise ValueError(
                f"labels of {name} rows must lie in 0..{classes - 1}, got {low}..{high}; leave unlabelled rows out"
            )
    shared = int(torch.isin(train, valid).sum())
    if shared:
        raise ValueError(f"{shared} validation rows are also training rows; early stopping needs rows of its own")
    return train, valid[by_length(valid, inputs)]
