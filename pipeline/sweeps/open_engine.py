"""Which engine trains the heads of a sweep: threads, processes or a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...features.encoders.runtime import available_cores
from ...features.extraction.ray_cluster import connected
from .engine import Engine
from .local_workers import Processes, process_count
from .ray_workers import open_workers
from .threads import Threads


@contextmanager
def open_engine(ray: str | None, *, asked: str, here: str, heads: int) -> Iterator[Engine]:
    """The workers of the Ray cluster at an address (empty: RAY_ADDRESS, or this machine alone); None: this machine.

    `asked` is the device that the user named, perhaps `auto`, and `here` the one that it means in this process;
    `heads` is how many train at once. Raises RayRunError.
    """
    if ray is not None:
        with connected(ray, store=None) as module, open_workers(module, asked) as workers:
            yield workers
    elif here == "cpu" and (count := process_count(available_cores(), heads)) > 1:
        with Processes(count) as processes:
            yield processes
    else:
        yield Threads(here)
