"""Workers on a Ray cluster, for `msa sweep --engine ray`."""

from __future__ import annotations

from typing import Any

from ...features.extraction.worker_pool import WorkerPool
from ..data.cached_features import CachedFeatures
from .chunk import Work
from .worker import Task, Worker


class RayPool(WorkerPool):
    """A worker on each GPU of a cluster, or on each core where it has none or `device` is another."""

    capacity = None  # changes with the cluster

    def __init__(self, ray: Any, device: str) -> None:
        super().__init__(ray, Worker, (), device=device, single=True)

    def alive(self, worker: Any) -> bool:
        """Whether this worker still holds its chunks."""
        return worker in self.nodes

    def store(self, table: CachedFeatures) -> Any:
        """A reference to a table in the cluster's object store, from which it travels to a node once."""
        return self.ray.put(table)

    def send(self, worker: Any, table: Any, task: Task, work: Work) -> None:
        """Give an idle worker a task on a stored table; `collect` returns the work with its results."""
        self.assign(worker, worker.train.remote(table, table.hex(), task), work)
