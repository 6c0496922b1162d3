"""Batches of rows: shuffled, texts of similar length together, padding cut to the longest."""

from __future__ import annotations

import torch
from torch import Tensor

from ...heads.base import Inputs

WINDOW = 16  # batches sorted by length together: enough to halve the padding, few enough to stay random


def shuffled_batches(rows: Tensor, inputs: Inputs, size: int, shuffle: torch.Generator) -> list[Tensor]:
    """Cut shuffled rows (n,) into batches of texts of similar length; on pooled vectors, into plain batches."""
    rows = rows[torch.randperm(len(rows), generator=shuffle).to(rows.device)]
    if inputs.text.shape[1] == 1:
        return list(torch.split(rows, size))
    windows = (window[by_length(window, inputs)] for window in torch.split(rows, size * WINDOW))
    batches = [batch for window in windows for batch in torch.split(window, size)]
    return [batches[k] for k in torch.randperm(len(batches), generator=shuffle).tolist()]


def take(inputs: Inputs, rows: Tensor) -> Inputs:
    """Return some rows in float32, their padding cut to the longest among them."""
    return Inputs(*_take(*inputs.side("image"), rows), *_take(*inputs.side("text"), rows))


def by_length(rows: Tensor, inputs: Inputs) -> Tensor:
    """The order (n,) that sorts these rows by the lengths of their texts."""
    return inputs.text_mask[rows].sum(1).argsort(stable=True)


def _take(vectors: Tensor, mask: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    mask = mask[rows]
    longest = 1
    if mask.shape[1] > 1:
        positions = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        longest = max(1, int((mask.any(0) * positions).max()))
    return vectors[:, :longest].index_select(0, rows).float(), mask[:, :longest]
