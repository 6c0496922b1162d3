"""`msa sweep --engine ray`: the workers of a Ray cluster train the chunks of a race, and keep them between rungs.

What a worker held when it died is trained again by another, from the start and in the same company, to the same heads.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from ...features.extraction.worker_pool import ATTEMPTS, RayRunError, WorkerDied, WorkerPool
from ..data.cached_features import CachedFeatures
from .chunk import Runner
from .engine import Found, Work
from .ray_chunks import Leg, Racer, Stop


@contextmanager
def open_workers(ray: Any, device: str) -> Iterator[Workers]:
    """One worker on each GPU of a cluster, or on each core where it has none or `device` is another, until the end."""
    crew = WorkerPool(ray, Racer, (), device=device, single=True)
    try:
        yield Workers(ray, crew)
    finally:
        crew.close()


@dataclass
class Station:
    """A chunk on the cluster: who holds its heads, and the stops that they have passed."""

    number: int
    runner: Runner  # of which the cluster needs the folds and the members
    home: Any = None
    passed: list[Stop] = field(default_factory=list)


class Workers:
    """The `Engine` of a race whose chunks train on a cluster."""

    def __init__(self, ray: Any, crew: WorkerPool) -> None:
        self.ray, self.crew = ray, crew
        self.stations: dict[Runner, Station] = {}
        self.numbers = count()
        self.tables: dict[int, Any] = {}  # identity of a table to where it lies in the cluster

    @property
    def device(self) -> str:
        """Where the heads train."""
        return "cuda" if self.crew.gpu else "cpu"

    @property
    def threads(self) -> int:
        """How many chunks train at a time."""
        return self.crew.capacity

    def regroup(self, runners: list[Runner], wanted: set[int]) -> list[Runner]:
        """The same: a worker keeps what it holds."""
        return runners

    def reach(self, work: Sequence[Work], rung: int, *, threads: int) -> Generator[list[Found], None, None]:
        """Train all of this to a rung; what comes of each chunk, as it comes. Raises RayRunError."""
        known = self.stations
        self.stations = {one.runner: known.get(one.runner) or Station(next(self.numbers), one.runner) for one in work}
        by_number = {station.number: station for station in self.stations.values()}
        asked = {self.stations[one.runner].number: one for one in work}
        tables = {number: self._place(one.table) for number, one in asked.items()}
        waiting = deque(
            Leg(station.number, Stop(rung, frozenset(one.wanted)), tuple(station.passed), frozenset(by_number))
            for one in work
            for station in (self.stations[one.runner],)
        )
        while waiting or self.crew.running:
            self.crew.start_workers()
            for worker in list(self.crew.idle):
                leg = self._next(waiting, worker, by_number)
                if leg is not None:
                    table = tables[leg.chunk]
                    self.crew.assign(worker, worker.reach.remote(table, table.hex(), leg), leg)
            for worker, leg, outcome in self.crew.collect():
                station = by_number[leg.chunk]
                if isinstance(outcome, WorkerDied):
                    waiting.appendleft(_again(leg, station, outcome.error))
                    continue
                station.home = worker
                station.passed.append(leg.stop)
                yield asked[leg.chunk].found(outcome)

    def _next(self, waiting: deque[Leg], worker: Any, stations: dict[int, Station]) -> Leg | None:
        """Take what a worker shall do: a chunk whose heads it holds, else one that nobody holds."""
        for held in (True, False):
            for leg in waiting:
                home = stations[leg.chunk].home
                if (home == worker) if held else (home not in self.crew.nodes):
                    waiting.remove(leg)
                    runner = stations[leg.chunk].runner
                    return leg if held else replace(leg, folds=tuple(runner.folds), members=tuple(runner.members))
        return None

    def _place(self, table: CachedFeatures) -> Any:
        """Where a table lies in the cluster, for as long as it is in use here: it travels to a node once."""
        name = id(table)
        if name not in self.tables:
            self.tables[name] = self.ray.put(table)
            weakref.finalize(table, self.tables.pop, name, None)
        return self.tables[name]


def _again(leg: Leg, station: Station, error: Exception) -> Leg:
    """A leg whose worker died, for another worker, but not for ever."""
    if leg.attempt + 1 >= ATTEMPTS:
        heads = len(station.runner.members)
        raise RayRunError(
            f"{ATTEMPTS} Ray workers died over the same {heads} heads, of which one of trial "
            f"{station.runner.members[0][0]} is the first; where memory was short, take a smaller --batch; what was "
            "stored stays, run the command again"
        ) from error
    return replace(leg, folds=(), members=(), attempt=leg.attempt + 1)
