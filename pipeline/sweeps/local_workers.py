"""Workers in processes of this machine, one for each core: threads of one interpreter would wait for one another."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import sys
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import joblib  # type: ignore[import-untyped]

from ...features.store.temporary_folders import TemporaryFolder
from ..data.cached_features import CachedFeatures
from .chunk import Result, Work
from .worker import Task, Worker

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext


class ProcessPool:
    """Processes on this machine. They read a table from one file, whose memory they share."""

    gpu = False

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.idle: deque[Process] = deque()
        self.running: dict[Any, tuple[Process, Work]] = {}
        self.folder = TemporaryFolder()
        self.numbers = count()
        if sys.platform == "linux":  # torch is loaded while features are read
            _context()
            # The server and its copies never see Ctrl-C, which they would answer with a traceback while they load.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            with _no_main():
                forkserver.ensure_running()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        else:
            self.start_workers()

    def alive(self, worker: Process | None) -> bool:
        """Whether this worker still holds its chunks: the first one that dies ends the sweep."""
        return worker is not None

    def start_workers(self) -> None:
        """Start what is lacking."""
        while len(self.idle) + len(self.running) < self.capacity:
            self.idle.append(Process())

    def store(self, table: CachedFeatures) -> Path:
        """Write a table to a file for the workers."""
        path = Path(self.folder.name, str(next(self.numbers)))
        joblib.dump(table, path)
        return path

    def send(self, worker: Process, table: Path, task: Task, work: Work) -> None:
        """Give an idle worker a task on a stored table. Raises ValueError where the worker is dead."""
        worker.ask(worker.pipe.send, (table, task))
        self.idle.remove(worker)
        self.running[worker.pipe] = worker, work

    def collect(self) -> Iterator[tuple[Process, Work, list[tuple[int, Result]]]]:
        """Wait for a worker; yield each that finished, with its work and results. Raises what a worker raised."""
        for pipe in wait(list(self.running)):
            worker, work = self.running.pop(pipe)
            self.idle.append(worker)
            yield worker, work, worker.receive()

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in [*self.idle, *(worker for worker, _ in self.running.values())]:
            worker.stop()
        self.idle.clear()
        self.running.clear()
        self.folder.cleanup()


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
                "memory; run the same command again to go on, or start over with a smaller --batch"
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


def _context() -> ForkServerContext | SpawnContext:
    """How a process starts: on Linux as a copy of one that has loaded torch, which takes seconds and 400 MB each time.

    That one stays until this process ends. Elsewhere a copy is not safe, or there is none.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([serve.__module__])
    return context


@contextmanager
def _no_main() -> Iterator[None]:
    """Inside, a process that starts does not run the main script again: it may be a user's, without a guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
