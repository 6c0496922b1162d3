"""Workers on a Ray cluster, for `msa sweep --engine ray`."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...features.extraction.worker_pool import WorkerPool
from ..data.cached_features import CachedFeatures
from .worker import Task, Worker
from .worker_engine import WorkerEngine


@contextmanager
def open_workers(ray: Any, device: str) -> Iterator[WorkerEngine]:
    """One worker on each GPU of a cluster, or on each core where it has none or `device` is another, until the end."""
    workers = WorkerPool(ray, Worker, (), device=device, single=True)
    try:
        yield WorkerEngine(RayPool(ray, workers))
    finally:
        workers.close()


class RayPool:
    """The `Pool` of workers on a cluster. A table travels to a node once."""

    def __init__(self, ray: Any, workers: WorkerPool) -> None:
        self.ray, self.workers = ray, workers
        self.tables: dict[int, Any] = {}  # references in the cluster, by the identity of the table
        self.start_workers, self.collect = workers.start_workers, workers.collect

    @property
    def idle(self) -> deque[Any]:
        """Workers without a task."""
        return self.workers.idle

    @property
    def gpu(self) -> bool:
        """Whether each worker has a GPU."""
        return self.workers.gpu

    @property
    def capacity(self) -> int:
        """How many workers the nodes have room for now."""
        return self.workers.capacity

    @property
    def busy(self) -> bool:
        """Whether a worker has a task."""
        return bool(self.workers.running)

    def alive(self, worker: Any) -> bool:
        """Whether this worker still holds its chunks."""
        return worker in self.workers.nodes

    def send(self, worker: Any, table: CachedFeatures, task: Task) -> None:
        """Give an idle worker a task."""
        name = id(table)
        if name not in self.tables:
            self.tables[name] = self.ray.put(table)
            weakref.finalize(table, self.tables.pop, name, None)
        reference = self.tables[name]
        self.workers.assign(worker, worker.train.remote(reference, reference.hex(), task), task)
