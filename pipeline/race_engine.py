"""Who trains the heads of a sweep: threads of this process, or the workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from .data import FeatureTable
from .many import Job, Trained
from .scene import Scenes
from .train import training_threads

if TYPE_CHECKING:
    from .runner import Runner

Found = tuple[int, Job, Trained | ValueError]  # of which trial, and what the head says or why it cannot


class Work(NamedTuple):
    """A chunk that has to run, for those of its trials that are wanted; all others of it are over."""

    runner: Runner
    wanted: set[int]
    table: FeatureTable


class Engine(Protocol):
    """Brings chunks to a rung. `threads` is how many at a time, None for what suits this machine.

    `regroups`: whether heads may change their chunk between rungs.
    """

    regroups: bool

    @property
    def device(self) -> str:
        """Where the heads train."""

    @property
    def threads(self) -> int | None:
        """How many chunks train at a time."""

    def reach(self, work: Sequence[Work], rung: int, *, threads: int) -> Generator[list[Found], None, None]:
        """Train all of this to a rung; what comes of each chunk, as it comes."""


class Threads:
    """Threads of this process, as many as a plan says."""

    threads = None
    regroups = True

    def __init__(self, device: str) -> None:
        self.device = device

    def reach(self, work: Sequence[Work], rung: int, *, threads: int) -> Generator[list[Found], None, None]:
        """Train all of this to a rung; what comes of each chunk, as it comes."""
        tables = {id(one.table): one.table for one in work}
        scenes = {
            name: Scenes(table, [one.runner.place for one in work if one.table is table], self.device)
            for name, table in tables.items()
        }
        with training_threads(1 if self.device == "cpu" else torch.get_num_threads()):
            pool = ThreadPoolExecutor(threads)
            try:
                running = [pool.submit(one.runner.reach, rung, one.wanted, scenes[id(one.table)]) for one in work]
                for future in as_completed(running):
                    yield future.result()
            finally:
                pool.shutdown(cancel_futures=True)


@contextmanager
def open_engine(ray: str | None, *, asked: str, here: str) -> Iterator[Engine]:
    """The workers of the Ray cluster at an address (empty: RAY_ADDRESS, or this machine alone); None: this process.

    `asked` is the device that the user named, perhaps `auto`, and `here` the one that it means in this process.
    Raises RayRunError.
    """
    if ray is None:
        yield Threads(here)
        return
    from .ray_cluster import connected
    from .ray_race import open_workers

    with connected(ray, store=None) as module, open_workers(module, asked) as workers:
        yield workers
