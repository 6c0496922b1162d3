"""Workers in processes of this machine, one for each core: threads of one interpreter would wait for one another."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import sys
import tempfile
import traceback
import weakref
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import joblib  # type: ignore[import-untyped]

from ..data.cached_features import CachedFeatures
from .chunk import Chunk, Result, TrialHead
from .engine import Work
from .threads import Threads
from .worker import Task, Worker
from .worker_engine import WorkerEngine

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

HEADS = 64  # for each process; with fewer, starting one (two seconds) takes longer than it saves


def process_count(cores: int, heads: int) -> int:
    """How many processes are worth their start for so many heads that train at once."""
    return min(cores, heads // HEADS)


class Processes:
    """An `Engine` that trains heads on pooled vectors in processes, and all others in threads.

    Products of heads on tokens or raw inputs are large enough for threads, and their inputs too large to be laid out in
    each process. Few heads are trained in threads, too.
    """

    device = "cpu"

    def __init__(self, processes: int) -> None:
        self.threads = processes
        self.pool, self.here = ProcessPool(processes), Threads("cpu")
        self.away = WorkerEngine(self.pool)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.close()

    def train_to(self, epoch: int, work: Sequence[Work]) -> Generator[list[tuple[TrialHead, Result]], None, None]:
        """Train every chunk to an epoch; yield the results of each chunk as soon as it is there.

        Raises ValueError where a process dies.
        """
        held = [one for one in work if one.chunk in self.away.held]
        new = [one for one in work if one not in held and _pooled(one) and not _begun(one.chunk)]
        if not held and sum(len(one.chunk.heads) for one in new) < 2 * HEADS:
            new = []
        away = [*held, *new]
        if away:
            yield from self.away.train_to(epoch, away)
        here = [one for one in work if one not in away]
        if here:
            yield from self.here.train_to(epoch, here)


class ProcessPool:
    """The `Pool` of processes on this machine. They read a table from one file, whose memory they share."""

    gpu = False

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.idle: deque[Process] = deque()
        self.running: dict[Any, tuple[Process, Task]] = {}
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.files: dict[int, Path] = {}  # by the identity of the table
        self.numbers = count()
        if not _start_server():
            self.start_workers()  # at once: they get ready while features are read

    @property
    def busy(self) -> bool:
        """Whether a worker has a task."""
        return bool(self.running)

    def alive(self, worker: Process | None) -> bool:
        """Whether this worker still holds its chunks: the first one that dies ends the sweep."""
        return worker is not None

    def start_workers(self) -> None:
        """Start what is lacking."""
        while len(self.idle) + len(self.running) < self.capacity:
            self.idle.append(Process())

    def send(self, worker: Process, table: CachedFeatures, task: Task) -> None:
        """Give an idle worker a task. Raises ValueError where it is dead."""
        worker.ask(worker.pipe.send, (self._file(table), task))
        self.idle.remove(worker)
        self.running[worker.pipe] = worker, task

    def collect(self) -> Iterator[tuple[Process, Task, list[tuple[int, Result]]]]:
        """Wait for a worker; yield each that finished, with its task and results. Raises what a worker raised."""
        for pipe in wait(list(self.running)):
            worker, task = self.running.pop(pipe)
            self.idle.append(worker)
            yield worker, task, worker.receive()

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in [*self.idle, *(worker for worker, _ in self.running.values())]:
            worker.stop()
        self.idle.clear()
        self.running.clear()
        self.files.clear()
        if self.folder is not None:
            self.folder.cleanup()

    def _file(self, table: CachedFeatures) -> Path:
        name = id(table)
        if name not in self.files:
            self.folder = self.folder or tempfile.TemporaryDirectory(prefix="msa-")
            path = Path(self.folder.name, str(next(self.numbers)))
            joblib.dump(table, path)
            self.files[name] = path
            weakref.finalize(table, self.files.pop, name, None)
        return self.files[name]


class Process:
    """A process with a worker, seen from outside."""

    def __init__(self) -> None:
        context = _context()
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=serve, args=(there,), daemon=True)
        with _no_main():
            self.process.start()
        there.close()  # so that the pipe ends with the process

    def receive(self) -> list[tuple[int, Result]]:
        """The results of the last task. Raises what the worker raised."""
        answer = self.ask(self.pipe.recv)
        if isinstance(answer, Exception):
            raise answer
        results: list[tuple[int, Result]] = answer
        return results

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.join()
        self.pipe.close()

    def ask(self, method: Any, *arguments: Any) -> Any:
        """Use the pipe. Raises ValueError where the process is dead."""
        try:
            return method(*arguments)
        except (EOFError, OSError) as error:
            self.process.join()
            raise ValueError(
                f"a process that trained heads ended with exit code {self.process.exitcode}, perhaps for want of "
                "memory; take a smaller --batch; what was stored stays, run the command again"
            ) from error


def serve(pipe: Connection) -> None:
    """Run a worker: receive files of tables and tasks, send results, until the other end of the pipe is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process at the other end of the pipe ends this one
    gc.freeze()  # what is loaded by now stays: a hundredth of the time went into looking for garbage in it
    worker = Worker(cores=1, gpu=False)
    worker.start()
    tables: dict[Path, CachedFeatures] = {}
    try:
        while True:
            path, task = pipe.recv()
            try:
                if path not in tables:
                    tables[path] = joblib.load(path, mmap_mode="c")
                pipe.send(worker.train(tables[path], path.name, task))
            except Exception as error:
                error.add_note(f"raised in a process of its own:\n{traceback.format_exc()}")  # `--debug` shows it
                pipe.send(error)
    except (EOFError, OSError):
        return


def _pooled(work: Work) -> bool:
    """Whether inputs are the table's pooled vectors themselves, whose memory all processes share."""
    raw = any(spec.raw for side in work.table.specs.values() for spec in side)
    return not work.chunk.inputs_key.tokens and not raw


def _begun(chunk: Chunk) -> bool:
    """Whether the chunk has been trained in this process."""
    return chunk.training is not None or bool(chunk.errors)


def _context() -> ForkServerContext | SpawnContext:
    """How a process starts: on Linux as a copy of one that has loaded torch, which takes seconds and 400 MB each time.

    That one stays until this process ends. Elsewhere a copy is not safe, or there is none.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([serve.__module__])
    return context


def _start_server() -> bool:
    """Let the process that others are copies of load torch, without waiting for it; False where there is none."""
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
