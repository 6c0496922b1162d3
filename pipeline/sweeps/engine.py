"""Where the heads of a sweep train: in threads, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager

import torch

from ...features.encoders.runtime import available_cores
from ...features.extraction.ray_cluster import connected
from ..training.fold_inputs import InputsCache
from ..training.loop import EpochRecord, training_threads
from .chunk import Result, Trained, Work
from .local_workers import ProcessPool
from .ray_workers import RayPool
from .worker_engine import WorkerEngine

HEADS = 64  # for each process; with fewer, starting one (two seconds) takes longer than it saves


class Threads:
    """Trains heads in threads of this process: one for each core, or one for a GPU."""

    def __init__(self, device: str) -> None:
        self.device, self.threads = device, available_cores() if device == "cpu" else 1

    def train_to(self, epoch: int, work: Sequence[Work]) -> Trained:
        """Train every chunk to an epoch; yield the results of each chunk as soon as it has finished."""
        cancelled = threading.Event()
        groups: dict[Hashable, list[Work]] = defaultdict(list)
        for one in work:
            groups[id(one.table), one.chunk.inputs_key].append(one)
        tables = {id(one.table): one.table for one in work}
        caches = {
            name: InputsCache(table, [one.chunk.inputs_key for one in work if one.table is table], self.device)
            for name, table in tables.items()
        }

        def train(one: Work) -> list[tuple[int, Result]]:
            one.chunk.keep(one.active)
            return one.chunk.train_to(epoch, one.active, caches[id(one.table)], go_on)

        def go_on(record: EpochRecord) -> None:
            if cancelled.is_set():
                raise CancelledError("the training was cancelled")

        with training_threads(1 if self.device == "cpu" else torch.get_num_threads()):
            pool = ThreadPoolExecutor(self.threads)
            try:
                # Those that share inputs follow one another, so that few inputs are in memory at a time.
                running = {pool.submit(train, one): one for group in groups.values() for one in group}
                for future in as_completed(running):
                    yield running[future].by_head(future.result())
            finally:
                cancelled.set()
                pool.shutdown(cancel_futures=True)


class Processes:
    """Trains heads on pooled vectors in processes, and all others in threads.

    Products of heads on tokens or raw inputs are large enough for threads, and their inputs too large to be laid out in
    each process. Few heads are trained in threads, too.
    """

    device = "cpu"

    def __init__(self, pool: ProcessPool) -> None:
        self.threads = pool.capacity
        self.in_processes, self.in_threads = WorkerEngine(pool), Threads("cpu")

    def train_to(self, epoch: int, work: Sequence[Work]) -> Trained:
        """As `WorkerEngine.train_to`; a chunk stays where it was first trained."""
        away = [one for one in work if one.chunk in self.in_processes.held]
        new = [one for one in work if one not in away and one.pooled and not one.chunk.begun]
        if away or sum(len(one.chunk.heads) for one in new) >= 2 * HEADS:
            away += new
        if away:
            yield from self.in_processes.train_to(epoch, away)
        if here := [one for one in work if one not in away]:
            yield from self.in_threads.train_to(epoch, here)


Engine = Threads | Processes | WorkerEngine


def process_count(cores: int, heads: int) -> int:
    """The number of processes to start for so many heads that train at once."""
    return min(cores, heads // HEADS)


@contextmanager
def open_engine(ray: str | None, *, asked: str, here: str, heads: int) -> Iterator[Engine]:
    """The engine on the Ray cluster at an address (empty: RAY_ADDRESS, or this machine alone); None: on this machine.

    `asked` is the device that the user named, perhaps `auto`, and `here` the one that it means in this process;
    `heads` is how many train at once. Raises RayRunError.
    """
    if ray is not None:
        with connected(ray, store=None) as module, closing(RayPool(module, asked)) as workers:
            yield WorkerEngine(workers)
    elif here == "cpu" and (count := process_count(available_cores(), heads)) > 1:
        with closing(ProcessPool(count)) as processes:
            yield Processes(processes)
    else:
        yield Threads(here)
