"""Who trains the heads of a sweep: this process, others on its cores, or the workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch

from ...features.encoders.runtime import available_cores
from ..data.cached_features import CachedFeatures
from ..training.fold_inputs import InputsCache
from ..training.jobs import HeadJob
from ..training.loop import training_threads
from .chunk import Runner, Said, regrouped

Found = tuple[int, HeadJob, Said | ValueError]  # of which trial, and what the head says or why it cannot


class Work(NamedTuple):
    """A chunk that has to run, for those of its trials that are wanted; all others of it are over."""

    runner: Runner
    wanted: set[int]
    table: CachedFeatures

    def found(self, said: Sequence[tuple[int, Said | ValueError]]) -> list[Found]:
        """What its heads say, each given by its place in the chunk."""
        members = self.runner.members
        return [(members[at][0], members[at][2], one) for at, one in said]


class Engine(Protocol):
    """Brings chunks to a rung. `threads` is how many at a time, None for what suits this machine."""

    @property
    def device(self) -> str:
        """Where the heads train."""

    @property
    def threads(self) -> int | None:
        """How many chunks train at a time."""

    def regroup(self, runners: list[Runner], wanted: set[int]) -> list[Runner]:
        """The runners of the wanted trials' heads from now on."""

    def reach(self, work: Sequence[Work], rung: int, *, threads: int) -> Generator[list[Found], None, None]:
        """Train all of this to a rung; what comes of each chunk, as it comes."""


class Threads:
    """Threads of this process, as many as a plan says."""

    threads = None

    def __init__(self, device: str) -> None:
        self.device = device

    def regroup(self, runners: list[Runner], wanted: set[int]) -> list[Runner]:
        """The heads in full chunks again."""
        return regrouped(runners, wanted, device=self.device, threads=available_cores() if self.device == "cpu" else 1)

    def reach(self, work: Sequence[Work], rung: int, *, threads: int) -> Generator[list[Found], None, None]:
        """Train all of this to a rung; what comes of each chunk, as it comes."""
        tables = {id(one.table): one.table for one in work}
        scenes = {
            name: InputsCache(table, [one.runner.inputs_key for one in work if one.table is table], self.device)
            for name, table in tables.items()
        }
        with training_threads(1 if self.device == "cpu" else torch.get_num_threads()):
            pool = ThreadPoolExecutor(threads)
            try:
                running = {pool.submit(one.runner.reach, rung, one.wanted, scenes[id(one.table)]): one for one in work}
                for future in as_completed(running):
                    yield running[future].found(future.result())
            finally:
                pool.shutdown(cancel_futures=True)


@contextmanager
def open_engine(ray: str | None, *, asked: str, here: str, heads: int) -> Iterator[Engine]:
    """The workers of the Ray cluster at an address (empty: RAY_ADDRESS, or this machine alone); None: this machine.

    `asked` is the device that the user named, perhaps `auto`, and `here` the one that it means in this process;
    `heads` is how many train at once. Raises RayRunError.
    """
    if ray is not None:
        from ...features.extraction.ray_cluster import connected
        from .ray_workers import open_workers

        with connected(ray, store=None) as module, open_workers(module, asked) as workers:
            yield workers
        return
    if here == "cpu":
        from .local_workers import Processes, worth

        if (count := worth(available_cores(), heads)) > 1:
            with Processes(count) as processes:
                yield processes
            return
    yield Threads(here)
