"""Batches of rows: shuffled, texts of similar length together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...heads.base import Inputs
from ..data.ragged_inputs import RaggedInputs

Rows = Tensor | NDArray[np.integer] | Sequence[int]
EVAL_BATCH = 512
EVAL_BATCH_TOKENS = 128  # more take most of a training's memory, and are padded to longer texts
WINDOW = 16  # batches sorted by length together: enough to halve the padding, few enough to stay random
BLOCKS = 16  # of neighbouring rows in a buffer of mapped ones: enough to mix, few enough to be read in sequence


def shuffled_batches(rows: Tensor, inputs: RaggedInputs, size: int, shuffle: torch.Generator) -> list[Tensor]:
    """Cut shuffled rows (n,) into batches of texts of similar length; on pooled vectors, into plain batches.

    Mapped rows are shuffled by blocks of neighbours, then among the blocks of a buffer, so that they can be read in
    sequence.
    """
    parts = _shuffled(rows, max(size, inputs.buffer // size * size) if inputs.buffer else len(rows), shuffle)
    return [batch for part in parts for batch in _cut(part, inputs, size, shuffle)]


def _shuffled(rows: Tensor, buffer: int, shuffle: torch.Generator) -> Iterator[Tensor]:
    """Rows (n,) in random order, `buffer` of them at a time; all at once where there are no more."""
    if len(rows) > buffer:
        blocks = torch.split(rows.sort().values, max(1, buffer // BLOCKS))
        rows = torch.cat([blocks[number] for number in torch.randperm(len(blocks), generator=shuffle).tolist()])
    for part in torch.split(rows, max(1, buffer)):
        yield part[torch.randperm(len(part), generator=shuffle).to(rows.device)]


def _cut(rows: Tensor, inputs: RaggedInputs, size: int, shuffle: torch.Generator) -> list[Tensor]:
    """Batches of rows (n,) in random order, texts of similar length together."""
    if inputs.text.longest == 1:
        return list(torch.split(rows, size))
    windows = (window[by_length(window, inputs)] for window in torch.split(rows, size * WINDOW))
    batches = [batch for window in windows for batch in torch.split(window, size)]
    return [batches[k] for k in torch.randperm(len(batches), generator=shuffle).tolist()]


def read_batches(inputs: RaggedInputs, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Inputs]]:
    """Each batch of row numbers and its inputs; of mapped ones the next buffer is read while one is worked on."""
    if not inputs.buffer:
        for rows in batches:
            yield rows, inputs.take(rows)
        return

    def read(group: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor, RaggedInputs]:
        rows = torch.unique(torch.cat(list(group)))  # sorted: in the order of the file
        return group, rows, inputs.copied(rows)

    with ThreadPoolExecutor(1) as pool:
        ahead: Future[tuple[Sequence[Tensor], Tensor, RaggedInputs]] | None = None
        for group in [*_groups(batches, inputs.buffer), None]:
            ready, ahead = ahead, pool.submit(read, group) if group else None
            if ready is not None:
                own, rows, held = ready.result()
                for batch in own:
                    yield batch, held.take(torch.searchsorted(rows, batch))


def _groups(batches: Iterable[Tensor], rows: int) -> list[list[Tensor]]:
    """Successive batches together, of `rows` in all or fewer, one batch at least."""
    groups: list[list[Tensor]] = [[]]
    for batch in batches:
        if groups[-1] and sum(map(len, groups[-1])) + len(batch) > rows:
            groups.append([])
        groups[-1].append(batch)
    return [group for group in groups if group]


def eval_batches(rows: Tensor, inputs: RaggedInputs) -> Sequence[Tensor]:
    """Cut rows (n,) into batches for a pass without gradient."""
    pooled = inputs.image.longest == inputs.text.longest == 1
    return torch.split(rows, EVAL_BATCH if pooled else EVAL_BATCH_TOKENS)


def by_length(rows: Tensor, inputs: RaggedInputs) -> Tensor:
    """The order (n,) that sorts these rows by the lengths of their texts; mapped ones, buffer by buffer of the file."""
    lengths = inputs.text.lengths[rows]
    if not inputs.buffer or len(rows) <= inputs.buffer:
        return lengths.argsort(stable=True)
    parts = torch.split(rows.argsort(stable=True), inputs.buffer)
    return torch.cat([part[lengths[part].argsort(stable=True)] for part in parts])


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
