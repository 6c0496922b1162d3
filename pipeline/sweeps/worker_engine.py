"""The engine that gives chunks to workers in other processes, here or on a cluster.

A chunk stays with the worker that holds its heads. What a worker held when it died, another one trains again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Protocol

from ...features.extraction.worker_pool import ATTEMPTS, RayRunError, WorkerDied
from ..data.cached_features import CachedFeatures
from .chunk import Chunk, Result, TrialHead
from .engine import Work
from .worker import Rung, Task


class Pool(Protocol):
    """Workers in other processes, and the way to them."""

    @property
    def idle(self) -> Sequence[Any]:
        """Workers without a task."""

    @property
    def gpu(self) -> bool:
        """Whether each worker has a GPU."""

    @property
    def capacity(self) -> int:
        """How many workers there is room for."""

    @property
    def busy(self) -> bool:
        """Whether a worker has a task."""

    def alive(self, worker: Any) -> bool:
        """Whether this worker still holds its chunks."""

    def start_workers(self) -> None:
        """Start a worker wherever one is lacking."""

    def send(self, worker: Any, table: CachedFeatures, task: Task) -> None:
        """Give an idle worker a task."""

    def collect(self) -> Iterator[tuple[Any, Task, Any]]:
        """Wait a moment, then yield each worker that finished or died, its task, and its results or WorkerDied."""


@dataclass
class Held:
    """A chunk, the worker that holds its heads, and the rungs that they have passed."""

    number: int
    chunk: Chunk  # never trained in this process
    worker: Any = None
    passed: list[Rung] = field(default_factory=list)


class WorkerEngine:
    """An `Engine` whose chunks train in the workers of a pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.held: dict[Chunk, Held] = {}
        self.numbers = count()

    @property
    def device(self) -> str:
        """Where the heads train."""
        return "cuda" if self.pool.gpu else "cpu"

    @property
    def threads(self) -> int:
        """How many chunks train at a time."""
        return self.pool.capacity

    def train_to(self, epoch: int, work: Sequence[Work]) -> Generator[list[tuple[TrialHead, Result]], None, None]:
        """Train every chunk to an epoch; yield the results of each chunk as soon as it is there.

        Raises ValueError where workers die again and again, or one raises.
        """
        known = self.held
        self.held = {one.chunk: known.get(one.chunk) or Held(next(self.numbers), one.chunk) for one in work}
        held = {self.held[one.chunk].number: (self.held[one.chunk], one) for one in work}
        waiting = deque(
            Task(number, Rung(epoch, one.active), tuple(chunk.passed), frozenset(held))
            for number, (chunk, one) in held.items()
        )
        while waiting or self.pool.busy:
            self.pool.start_workers()
            for worker in list(self.pool.idle):
                task = self._next(waiting, worker, {number: chunk for number, (chunk, _) in held.items()})
                if task is not None:
                    self.pool.send(worker, held[task.chunk][1].table, task)
            for worker, task, outcome in self.pool.collect():
                chunk, one = held[task.chunk]
                if isinstance(outcome, WorkerDied):
                    waiting.appendleft(_retry(task, chunk.chunk, outcome.error))
                    continue
                chunk.worker = worker
                chunk.passed.append(task.rung)
                yield one.found(outcome)

    def _next(self, waiting: deque[Task], worker: Any, held: dict[int, Held]) -> Task | None:
        """Take the next task for a worker: of a chunk that it holds, else of one that nobody holds."""
        for own in (True, False):
            for task in waiting:
                chunk = held[task.chunk]
                if chunk.worker == worker if own else not self.pool.alive(chunk.worker):
                    waiting.remove(task)
                    return task if own else replace(task, new=chunk.chunk)
        return None


def _retry(task: Task, chunk: Chunk, error: Exception) -> Task:
    """The task of a worker that died, for another worker. Raises RayRunError once too many have died over it."""
    if task.attempt + 1 >= ATTEMPTS:
        raise RayRunError(
            f"{ATTEMPTS} Ray workers died over the same {len(chunk.heads)} heads, of which one of trial "
            f"{chunk.heads[0].trial} is the first; where memory was short, take a smaller --batch; what was stored "
            "stays, run the command again"
        ) from error
    return replace(task, new=None, attempt=task.attempt + 1)
