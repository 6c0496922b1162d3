"""The engine that gives chunks to workers in other processes, here or on a cluster.

A chunk stays with the worker that holds its heads. If that worker dies, or has too many, another one trains the chunk
again.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ...features.extraction.worker_pool import ATTEMPTS, RayRunError, WorkerDied
from ..data.cached_features import CachedFeatures
from .chunk import Chunk, Trained, Work
from .local_workers import ProcessPool
from .ray_workers import RayPool
from .worker import Rung, Task


@dataclass
class Held:
    """The number of a chunk, the worker that holds its heads, and the rungs that they have passed."""

    number: int
    worker: Any = None
    passed: list[Rung] = field(default_factory=list)


class WorkerEngine:
    """Trains chunks in the workers of a pool. The chunks in this process stay untrained."""

    def __init__(self, pool: ProcessPool | RayPool) -> None:
        self.pool, self.device = pool, "cuda" if pool.gpu else "cpu"
        self.held: dict[Chunk, Held] = {}
        self.numbers = count()
        self.tables: dict[int, Any] = {}  # where workers find a table, by its identity

    @property
    def threads(self) -> int | None:
        """How many chunks train at a time; None where workers come and go, so that no result depends on it."""
        return self.pool.capacity

    def train_to(self, epoch: int, work: Sequence[Work]) -> Trained:
        """Train every chunk to an epoch; yield the results of each chunk as soon as it has finished.

        Raises ValueError where workers die again and again, or one raises.
        """
        self.held = {one.chunk: self.held.get(one.chunk) or Held(next(self.numbers)) for one in work}
        waiting, deaths = list(work), Counter[Chunk]()
        while waiting or self.pool.running:
            self.pool.start_workers()
            for worker in list(self.pool.idle):
                if one := self._next(waiting, worker):
                    held = self.held[one.chunk]
                    new = None if held.worker == worker else one.chunk
                    needed = frozenset(held.number for held in self.held.values())
                    task = Task(held.number, Rung(epoch, one.active), tuple(held.passed), needed, new)
                    self.pool.send(worker, self._stored(one.table), task, one)
            for worker, one, outcome in self.pool.collect():
                if isinstance(outcome, WorkerDied):
                    deaths[one.chunk] += 1
                    if deaths[one.chunk] == ATTEMPTS:
                        heads = one.chunk.heads
                        raise RayRunError(
                            f"{ATTEMPTS} Ray workers died over the same {len(heads)} heads, of which one of trial "
                            f"{heads[0].trial} is the first; run the same command again to go on, or "
                            "start over with a smaller --batch where memory was short"
                        ) from outcome.error
                    waiting.insert(0, one)
                    continue
                held = self.held[one.chunk]
                held.worker = worker
                held.passed.append(Rung(epoch, one.active))
                yield one.by_head(outcome)

    def _next(self, waiting: list[Work], worker: Any) -> Work | None:
        """Take the next chunk for a worker: one that it holds, one that no living worker holds, or one of another's.

        Training a chunk again from the start costs as much as its next rung, since rungs double. So a worker without
        chunks, as on a node that joins, takes one over where its holder has more than one to train.
        """
        holders = [self.held[one.chunk].worker for one in waiting]
        own = [at for at, holder in enumerate(holders) if holder == worker]
        free = [at for at, holder in enumerate(holders) if not self.pool.alive(holder)]
        queued = [at for at, holder in enumerate(holders) if holders.count(holder) > 1]
        if not (own or free or queued):
            return None
        one = waiting.pop(own[0] if own else free[0] if free else queued[-1])
        if not own:  # under another number, so that its holder forgets it
            self.held[one.chunk] = Held(next(self.numbers), None, self.held[one.chunk].passed)
        return one

    def _stored(self, table: CachedFeatures) -> Any:
        """Where workers find a table, which is stored for them once. Raises ValueError for one that is mapped."""
        if table.storage.mapped:
            raise ValueError("features beyond --memory are not sent to Ray; give a larger --memory, or --engine local")
        if id(table) not in self.tables:
            self.tables[id(table)] = self.pool.store(table)
            weakref.finalize(table, self.tables.pop, id(table), None)
        return self.tables[id(table)]
