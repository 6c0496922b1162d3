"""A worker of a sweep: it holds chunks and trains them from rung to rung, in a local process or a Ray actor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from ..data.cached_features import CachedFeatures
from ..training.fold_inputs import LatestInputs
from .chunk import Chunk, Result


class Rung(NamedTuple):
    """The epoch that a chunk is trained to, and its trials that are active until then."""

    epoch: int
    active: frozenset[int]


@dataclass(frozen=True)
class Task:
    """A chunk to be trained to a rung.

    `new` is the untrained chunk where the worker does not hold it. It is then trained through the `passed` rungs first,
    so that the same heads train side by side as before, to the same results. `needed` are all chunks that are still
    needed.
    """

    chunk: int
    rung: Rung
    passed: tuple[Rung, ...]
    needed: frozenset[int]
    new: Chunk | None = None


class Worker:
    """Trains on one core, some cores or one GPU."""

    def __init__(self, *, cores: int, gpu: bool) -> None:
        self.cores, self.device = cores, "cuda" if gpu else "cpu"
        self.chunks: dict[int, Chunk] = {}
        self.inputs: dict[str, LatestInputs] = {}  # of the last table

    def start(self) -> None:
        """Use no more of the machine than these cores."""
        torch.set_num_threads(self.cores)

    def train(self, table: CachedFeatures, name: str, task: Task) -> list[tuple[int, Result]]:
        """Train a chunk to its next rung and test its active heads: results by their places in the chunk.

        Tables of one `name` are the same table.
        """
        for number in self.chunks.keys() - task.needed:
            del self.chunks[number]
        if name not in self.inputs:
            self.inputs = {name: LatestInputs(table, self.device)}
        cache = self.inputs[name]
        if task.new is not None:
            for rung in task.passed:
                task.new.keep(rung.active)
                task.new.train_to(rung.epoch, frozenset(), cache)
            self.chunks[task.chunk] = task.new
        chunk = self.chunks[task.chunk]
        chunk.keep(task.rung.active)
        return chunk.train_to(task.rung.epoch, task.rung.active, cache)
