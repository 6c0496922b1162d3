"""One process a core for the heads of a sweep: threads of one interpreter would wait for one another between steps."""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import weakref
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import count as count_up
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..data.cached_features import CachedFeatures
from .chunk import Runner, Said
from .engine import Found, Threads, Work
from .process_worker import Name, Order, serve
from .shared_memory import write_shared

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

HEADS = 64  # for each process, from which on it is worth its start: about two seconds


def worth(cores: int, heads: int) -> int:
    """How many processes so many heads, that train at once, are worth."""
    return min(cores, heads // HEADS)


class Processes:
    """The `Engine` of a race on the cores of this machine.

    Chunks stay where they are dealt to, and each worker regroups its own. Those of a fold go to one worker as far as
    can be: what is left of them can then train side by side, and as many heads are left of each fold. Heads on tokens
    or raw inputs are trained by `Threads`: their products are large enough, and their inputs too large to be laid out
    in each process. So are few heads.
    """

    device = "cpu"
    threads = None

    def __init__(self, count: int) -> None:
        self.count, self.here = count, Threads("cpu")
        self.away: set[Runner] = set()  # what the workers hold
        self.workers: list[Worker] = []
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.tables: dict[int, Path] = {}  # identity of a table to the file that has it
        self.files = count_up()
        if not _prepare():
            self._start()  # at once: they get ready while features are read

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def regroup(self, runners: list[Runner], wanted: set[int]) -> list[Runner]:
        """Those here in full chunks again; those of the workers as they are, since each worker regroups its own."""
        away = [runner for runner in runners if runner in self.away]
        return away + self.here.regroup([runner for runner in runners if runner not in self.away], wanted)

    def reach(self, work: Sequence[Work], rung: int, *, threads: int) -> Generator[list[Found], None, None]:
        """Train all of this to a rung; what comes of each chunk, as it comes. Raises ValueError where a worker dies."""
        held = [one for one in work if one.runner in self.away]
        fresh = [one for one in work if one.runner.fused is None and _pooled(one) and one not in held]
        if not held and sum(len(one.runner.members) for one in fresh) < 2 * HEADS:
            fresh = []
        there = [*held, *fresh]
        if there:
            yield from self._reach_there(held, fresh, rung, anew=not held)
        here = [one for one in work if one not in there]
        if here:
            yield from self.here.reach(here, rung, threads=threads)

    def _reach_there(
        self, held: Sequence[Work], fresh: Sequence[Work], rung: int, *, anew: bool
    ) -> Generator[list[Found], None, None]:
        wanted = frozenset(index for one in [*held, *fresh] for index in one.wanted)
        self.away = {one.runner for one in [*held, *fresh]}
        jobs = {(index, job.fold, job.member): job for runner in self.away for index, _, job in runner.members}
        self._start()
        by_fold = sorted(fresh, key=lambda one: one.runner.members[0][2].fold)
        for number, worker in enumerate(self.workers):
            start, end = (at * len(by_fold) // self.count for at in (number, number + 1))
            chunks = [(self._file(one.table), one.runner.folds, one.runner.members) for one in by_fold[start:end]]
            worker.send(Order(rung, wanted, anew, chunks))
        busy = {worker.pipe: worker for worker in self.workers}
        try:
            while busy:
                for pipe in wait(list(busy)):
                    found = busy[pipe].receive()  # type: ignore[index]
                    if found is None:
                        del busy[pipe]  # type: ignore[arg-type]
                    else:
                        yield [(name[0], jobs[name], one) for name, one in found]
        finally:
            if busy:  # what they hold is in an unknown state
                self._stop()

    def _file(self, table: CachedFeatures) -> Path:
        """A table in a file that all workers read, and none copies."""
        name = id(table)
        if name not in self.tables:
            self.folder = self.folder or tempfile.TemporaryDirectory(prefix="msa-")
            path = Path(self.folder.name, str(next(self.files)))
            write_shared(path, table)
            self.tables[name] = path
            weakref.finalize(table, self.tables.pop, name, None)
        return self.tables[name]

    def _start(self) -> None:
        while len(self.workers) < self.count:
            self.workers.append(Worker())

    def _stop(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.workers, self.away = [], set()
        self.tables.clear()
        if self.folder is not None:
            self.folder.cleanup()
            self.folder = None


class Worker:
    """A process that trains chunks, seen from outside."""

    def __init__(self) -> None:
        context = _context()
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=serve, args=(there,), daemon=True)
        with _no_main():
            self.process.start()
        there.close()  # so that the pipe ends with the process

    def send(self, order: Order) -> None:
        """Give it something to do."""
        self._ask(self.pipe.send, order)

    def receive(self) -> list[tuple[Name, Said | ValueError]] | None:
        """The next chunk's findings, None once the order is done. Raises what the worker raised."""
        told = self._ask(self.pipe.recv)
        if isinstance(told, Exception):
            raise told
        found: list[tuple[Name, Said | ValueError]] | None = told
        return found

    def stop(self) -> None:
        """End it, whatever it is doing."""
        self.process.terminate()
        self.process.join()
        self.pipe.close()

    def _ask(self, how: Any, *what: Any) -> Any:
        try:
            return how(*what)
        except (EOFError, OSError) as error:
            self.process.join()
            raise ValueError(
                f"a process that trained heads ended with exit code {self.process.exitcode}, perhaps for want of "
                "memory; take a smaller --batch; what was stored stays, run the command again"
            ) from error


def _pooled(work: Work) -> bool:
    """Whether inputs are the table's pooled vectors themselves, which all processes read in one place."""
    return not work.runner.inputs_key.tokens and not any(
        spec.raw for side in work.table.specs.values() for spec in side
    )


def _context() -> ForkServerContext | SpawnContext:
    """How a process starts: on Linux as a copy of one that has loaded torch, which takes seconds and 400 MB each time.

    That one stays until this process ends. Elsewhere a copy is not safe, or there is none.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([serve.__module__])
    return context


def _prepare() -> bool:
    """Let the process that others are copies of load torch, and do not wait for it; False where there is none."""
    if sys.platform != "linux":
        return False
    _context()
    with _no_main():
        forkserver.ensure_running()
    return True


@contextmanager
def _no_main() -> Iterator[None]:
    """Inside, a process that starts does not run the main script again: it may be a user's, without a guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
