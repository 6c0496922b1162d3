"""The pooled vectors of both modalities as the columns that baselines read: of all posts, or of some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ...features.encoders.runtime import available_cores
from ...features.spec import MODALITIES
from ..data.cached_features import CachedFeatures
from ..data.inputs import build_inputs
from ..data.ragged_inputs import RaggedInputs
from ..data.split import Fold

Matrix = NDArray[np.float32]
COPIES = 6  # of the rows that a baseline is fitted on: as read, filled, scaled, and those of the solver


def pooled_matrix(inputs: RaggedInputs) -> Matrix:
    """Concatenate the pooled vectors: (N, I + E + 2).

    The last two columns are 1 where the image or the text is missing. A missing vector is NaN, to be imputed from the
    training rows.
    """
    parts, missing = [], []
    for modality in MODALITIES:
        vectors, mask = inputs.side(modality).pooled()
        absent = ~mask.any(1).cpu().numpy()
        pooled = vectors[:, 0].detach().float().cpu().numpy().copy()
        pooled[absent] = np.nan
        parts.append(pooled)
        missing.append(absent.astype(np.float32)[:, None])
    return np.concatenate([*parts, *missing], axis=1)


@dataclass(frozen=True)
class PooledRows:
    """Some columns of the `pooled_matrix` of inputs, of which any rows are read when they are asked for.

    `at_once` is how many rows fit into the memory that a baseline may take; 0: all, the whole matrix is in memory. With
    `zeros` missing vectors are 0 instead of NaN.
    """

    source: Matrix | RaggedInputs
    columns: NDArray[np.bool_] | None = None
    at_once: int = 0
    zeros: bool = False

    @classmethod
    def of(cls, table: CachedFeatures) -> tuple[PooledRows, int]:
        """The rows of a table, and the width of its images."""
        inputs = build_inputs(table, tokens=False)
        width = inputs.image.width
        if not table.storage.mapped:
            return cls(pooled_matrix(inputs)), width
        row = 4 * COPIES * available_cores() * (width + inputs.text.width + len(MODALITIES))
        return cls(inputs, at_once=max(1, table.storage.memory // row)), width

    @classmethod
    def over(cls, matrix: Matrix | PooledRows) -> PooledRows:
        """The rows of a matrix in memory; those of a table as they are."""
        return matrix if isinstance(matrix, PooledRows) else cls(matrix)

    @property
    def width(self) -> int:
        """The number of columns."""
        if self.columns is not None:
            return int(self.columns.sum())
        if isinstance(self.source, RaggedInputs):
            return self.source.image.width + self.source.text.width + len(MODALITIES)
        return int(self.source.shape[1])

    def select(self, columns: NDArray[np.bool_]) -> PooledRows:
        """Some of the columns; a matrix in memory is copied, so that each baseline reads no more than it needs."""
        if isinstance(self.source, RaggedInputs):
            return replace(self, columns=columns)
        return PooledRows(self.source[:, columns])

    def __getitem__(self, rows: NDArray[np.int64]) -> Matrix:
        if isinstance(self.source, RaggedInputs):
            found = pooled_matrix(self.source.copied(torch.from_numpy(rows)))
            found = found if self.columns is None else found[:, self.columns]
        else:
            found = self.source[rows]
        return np.nan_to_num(found) if self.zeros else found

    def blocks(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Rows (n,) cut into blocks that fit into memory."""
        count = -(-len(rows) // self.at_once) if self.at_once else 1
        return np.array_split(rows, max(1, count))

    def fewer(self, fold: Fold, most: int) -> Fold:
        """The fold with training and validation rows that fit into memory, at most `most`, evenly spaced."""
        if not self.at_once:
            return fold
        limit = max(1, min(most, self.at_once))
        train, valid = (rows[:: -(-len(rows) // limit)] for rows in (fold.train, fold.valid))
        return replace(fold, train=train, valid=valid)


class Standardised:
    """Rows of a matrix, imputed (NaN: training mean) and scaled as some training rows."""

    def __init__(self, matrix: PooledRows, train: NDArray[np.int64]) -> None:
        self.matrix = matrix
        x = matrix[train]
        counts = (~np.isnan(x)).sum(0)
        self.fill = (np.nansum(x, axis=0, dtype=np.float64) / np.maximum(counts, 1)).astype(np.float32)
        filled = np.where(np.isnan(x), self.fill, x)
        self.mean, scale = filled.mean(0), filled.std(0)
        self.scale = np.where(scale > 1e-7, scale, np.float32(1.0))  # a constant column keeps its scale

    def __getitem__(self, rows: NDArray[np.int64]) -> Matrix:
        x = self.matrix[rows]
        scaled: Matrix = (np.where(np.isnan(x), self.fill, x) - self.mean) / self.scale
        return scaled

    def blocks(self, rows: NDArray[np.int64]) -> Iterator[Matrix]:
        """Rows (n,) in blocks that fit into memory."""
        return (self[some] for some in self.matrix.blocks(rows))
