"""A worker of `msa sweep --engine ray`: one process that trains chunks of heads and keeps them from rung to rung."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from ..training.fold_inputs import InputsCache, LatestInputs
from ..training.jobs import Experiment, HeadJob
from .chunk import Runner, Said


@dataclass(frozen=True)
class Stop:
    """A rung of a chunk's race, and the trials that were not over on the way there."""

    rung: int
    wanted: frozenset[int]


@dataclass(frozen=True)
class Leg:
    """What a worker shall do with one chunk: train it to a stop.

    `folds` and `members` make the chunk where the worker does not hold it; it then passes the stops `behind` once
    more, so that the heads meet the same company as before. `kept` are the chunks that are not over, `attempt` counts
    the workers that died over this one.
    """

    chunk: int
    stop: Stop
    behind: tuple[Stop, ...]
    kept: frozenset[int]
    folds: tuple[Fold, ...] = ()
    members: tuple[tuple[int, Experiment, HeadJob], ...] = ()
    attempt: int = 0


class Racer:
    """Lives in a process of its own, with a core or a GPU."""

    def __init__(self, *, cores: int, gpu: bool) -> None:
        self.cores, self.device = cores, "cuda" if gpu else "cpu"
        self.runners: dict[int, Runner] = {}
        self.scenes: tuple[str, InputsCache] | None = None

    def start(self) -> None:
        """Take no more of the node than one was hired for."""
        torch.set_num_threads(self.cores)

    def reach(self, table: CachedFeatures, name: str, leg: Leg) -> list[tuple[int, Said | ValueError]]:
        """Train a chunk to its next stop; what its wanted heads say there, by their places in it.

        Tables of one `name` are the same table.
        """
        for number in self.runners.keys() - leg.kept:
            del self.runners[number]
        if self.scenes is None or self.scenes[0] != name:
            self.scenes = name, LatestInputs(table, self.device)
        scenes = self.scenes[1]
        runner = self.runners.get(leg.chunk)
        if runner is None:
            runner = Runner(leg.folds, leg.members)
            for stop in leg.behind:
                runner.keep(stop.wanted)
                runner.reach(stop.rung, set(), scenes)
            self.runners[leg.chunk] = runner
        runner.keep(leg.stop.wanted)
        return runner.reach(leg.stop.rung, leg.stop.wanted, scenes)
