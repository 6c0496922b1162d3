"""Where the heads of a sweep train: in threads, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from ...features.encoders.runtime import available_cores
from ...features.extraction.ray_cluster import connected
from .chunk import Trained, Work
from .local_workers import ProcessPool
from .ray_workers import RayPool
from .threads import Threads
from .worker_engine import WorkerEngine

HEADS = 64  # for each process; with fewer, starting one (two seconds) takes longer than it saves


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
    """How many processes are worth their start for so many heads that train at once."""
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
