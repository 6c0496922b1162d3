"""Sequences of different length, stored one after another without padding: the tokens of posts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .storage import Storage

BLOCK = 1 << 12  # vectors that are copied at once


@dataclass(frozen=True)
class Ragged:
    """N sequences of vectors: sequence n is `values[starts[n] : starts[n] + lengths[n]]`.

    Shapes: values (S, D) in any number format, starts and lengths (N,). Sequences may share vectors, as those of posts
    with the same text do. `longest` is the length of the longest sequence of the data set, also of a selection.
    """

    values: NDArray[Any]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    longest: int

    @classmethod
    def of(cls, rows: Sequence[NDArray[Any] | None], *, width: int, dtype: DTypeLike) -> Ragged:
        """The sequences (T_n, D) of N posts; None for a post without."""
        lengths = np.array([0 if row is None else len(row) for row in rows], np.int64)
        values = np.concatenate([np.empty((0, width), dtype), *(row for row in rows if row is not None)])
        return cls.packed(values.astype(dtype, copy=False), lengths)

    @classmethod
    def packed(cls, values: NDArray[Any], lengths: NDArray[np.int64]) -> Ragged:
        """Sequences of these lengths (N,) that follow one another in the values (S, D)."""
        return cls(values, np.cumsum(lengths) - lengths, lengths, int(lengths.max(initial=0)))

    @classmethod
    def of_padded(cls, padded: NDArray[Any], mask: NDArray[np.bool_]) -> Ragged:
        """The sequences of a padded array (N, T, D) where its mask (N, T) is True."""
        return replace(cls.packed(padded[mask], mask.sum(1)), longest=mask.shape[1])

    def __getitem__(self, rows: NDArray[np.int64]) -> Ragged:
        """Some of the sequences, which share the vectors."""
        return replace(self, starts=self.starts[rows], lengths=self.lengths[rows])

    def spread(self, numbers: NDArray[np.int64]) -> Ragged:
        """The sequence of each number (n,), an empty one for -1."""
        starts, lengths = np.append(self.starts, 0), np.append(self.lengths, 0)
        return replace(self, starts=starts[numbers], lengths=lengths[numbers])

    def row(self, number: int) -> NDArray[Any]:
        """One sequence (T, D)."""
        start = self.starts[number]
        return self.values[start : start + self.lengths[number]]

    def indices(self) -> NDArray[np.int64]:
        """The place in `values` of every vector of every sequence, in order."""
        return self.places(np.arange(self.lengths.sum()))

    def places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The place in `values` of some vectors, by their numbers (n,) among those of all sequences in order."""
        ends = np.cumsum(self.lengths)
        of = np.searchsorted(ends, numbers, side="right")
        places: NDArray[np.int64] = (self.starts - ends + self.lengths)[of] + numbers
        return places

    def finite(self) -> NDArray[np.bool_]:
        """Mask (N,) of the sequences whose numbers are all finite."""
        # NaN and infinity stay in a sum
        strange = ~np.isfinite(self.values.sum(1, dtype=np.float64))
        before = np.concatenate([[0], np.cumsum(strange)])
        clean: NDArray[np.bool_] = before[self.starts] == before[self.starts + self.lengths]
        return clean


def choose(held: NDArray[np.bool_], one: Ragged, other: Ragged, storage: Storage = Storage()) -> Ragged:
    """The sequences of `one` where `held` (N,), of `other` elsewhere, in the number format of `one`."""
    rest = other[np.flatnonzero(~held)]
    own = len(one.values)
    values = storage.empty((own + int(rest.lengths.sum()), one.values.shape[1]), one.values.dtype)
    values[:own] = one.values
    places = rest.indices()
    for start in range(0, len(places), BLOCK):
        some = places[start : start + BLOCK]
        values[own + start :][: len(some)] = other.values[some]
    starts = one.starts.copy()
    starts[~held] = own + np.cumsum(rest.lengths) - rest.lengths
    lengths = np.where(held, one.lengths, other.lengths)
    return Ragged(values, starts, lengths, max(one.longest, other.longest))
