"""What every engine of a sweep offers: it trains chunks to a rung."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple, Protocol

from ..data.cached_features import CachedFeatures
from .chunk import Chunk, Result, TrialHead


class Work(NamedTuple):
    """A chunk to be trained on a table, for its trials that are still active."""

    chunk: Chunk
    active: frozenset[int]
    table: CachedFeatures

    def found(self, results: Sequence[tuple[int, Result]]) -> list[tuple[TrialHead, Result]]:
        """The heads of these results, which give their places in the chunk."""
        return [(self.chunk.heads[at], result) for at, result in results]


class Engine(Protocol):
    """Trains chunks. `threads` is how many at a time, None for what suits this machine."""

    @property
    def device(self) -> str:
        """Where the heads train."""

    @property
    def threads(self) -> int | None:
        """How many chunks train at a time."""

    def train_to(self, epoch: int, work: Sequence[Work]) -> Generator[list[tuple[TrialHead, Result]], None, None]:
        """Train every chunk to an epoch; yield the results of each chunk as soon as it is there."""
