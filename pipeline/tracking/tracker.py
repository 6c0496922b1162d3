"""Passes what trainings log to a log file, to TensorBoard or to MLflow, from a thread that no training waits for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Literal, Protocol

from ...features.messages import explain, notify, unexpected
from ...features.progress import watched
from ..runs.made import COMMAND
from .events import Event, Note, Point, taking

Log = Literal["none", "tensorboard", "mlflow"]


class Logger(Protocol):
    """Where events go; all methods are called by one thread."""

    @property
    def where(self) -> str:
        """What it writes to, and how to look at it."""

    def write(self, events: Sequence[Event]) -> None:
        """Write these events."""

    def close(self, failed: bool) -> None:
        """End; `failed` tells whether an error ended the command."""


class Background:
    """Hands events to a logger in a thread. After an error of the logger, further events are dropped and counted."""

    def __init__(self, logger: Logger) -> None:
        self.logger = logger
        self.error: Exception | None = None
        self.last: dict[str, int] = {}  # step of each curve
        self.dropped = 0
        self.queue: SimpleQueue[Event | None] = SimpleQueue()
        self.thread = Thread(target=self._work, daemon=True)
        self.thread.start()

    def finish(self, failed: bool) -> None:
        """Wait until all events are written; a notice tells where an error of the logger kept them from it."""
        self.queue.put(None)
        self.thread.join()
        try:
            self.logger.close(failed)
        except Exception as error:
            self.error = self.error or error
        if self.error:
            reason = explain(self.error) or unexpected(self.error)
            notify(f"{self.logger.where}: {self.dropped} entries were not logged ({reason}); results are not affected")

    def _work(self) -> None:
        open_ = True
        while open_:
            waiting = [self.queue.get(), *(self.queue.get() for _ in range(self.queue.qsize()))]
            open_ = waiting[-1] is not None
            events = [self._advance(one) for one in waiting if one is not None]
            if self.error is None:
                try:
                    self.logger.write(events)
                    continue
                except Exception as error:
                    self.error = error
            self.dropped += len(events)

    def _advance(self, event: Event) -> Event:
        """A curve goes on where its training begins again, as with more pseudo-labels."""
        if not isinstance(event, Point):
            return event
        last = self.last.get(event.series, -1)
        self.last[event.series] = step = event.step if event.step > last else last + 1
        return event._replace(step=step)


@contextmanager
def track(log: Log, runs: Path, name: str, file: Path | None) -> Iterator[None]:
    """Log what happens inside, to TensorBoard or MLflow in the folder of runs under this name, and to a log file.

    Raises ValueError where the file or the store cannot be written, ModuleNotFoundError without the extra.
    """
    loggers: list[Logger] = []
    if file is not None:
        from .log_file import LogFile

        loggers.append(LogFile(file))
    if log == "tensorboard":
        from .tensorboard import TensorBoardLogger

        loggers.append(TensorBoardLogger(runs, name))
    elif log == "mlflow":
        from .mlflow import MLflowLogger

        loggers.append(MLflowLogger(runs, name))
    with _tracking(loggers):
        yield


@contextmanager
def _tracking(loggers: Sequence[Logger]) -> Iterator[None]:
    """Log to each of these, the last one innermost."""
    if not loggers:
        yield
        return
    background, failed = Background(loggers[0]), True
    background.queue.put(Note(COMMAND.get() or "called from Python"))
    watcher = StageNotes(background)
    try:
        with taking(background.queue.put), watched(watcher), _tracking(loggers[1:]):
            try:
                yield
            except Exception as error:
                background.queue.put(Note(f"error: {explain(error) or unexpected(error)}"))
                raise
        failed = False
    finally:
        background.finish(failed)


class StageNotes:
    """Logs the stages of a command as notes; its steps are points of curves."""

    def __init__(self, background: Background) -> None:
        self.put = background.queue.put

    def stage(self, name: str) -> None:
        self.put(Note(name))

    def step(self, name: str, done: int, total: int, unit: str) -> None:
        """Nothing."""

    def detail(self, text: str) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""

    def keeping(self, kept: object) -> None:
        """Nothing."""
