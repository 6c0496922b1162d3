"""What a command is doing: functions report stages and steps, and whoever watches shows them; by default nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Watcher(Protocol):
    """Shows progress. Its methods are called often, and from any thread."""

    def stage(self, name: str) -> None:
        """A new stage begins, and the last one has ended."""

    def step(self, name: str, done: int, total: int, unit: str) -> None:
        """So many of the units of a step are done; steps of a stage may run side by side."""

    def detail(self, text: str) -> None:
        """The latest figures of the stage, as an epoch's loss."""

    def finish(self) -> None:
        """The work is done, and its result is printed."""

    def keeping(self, kept: Callable[[], str]) -> None:
        """What stays if the command is interrupted now: called once it has cleaned up."""


NOTHING = "nothing was written"
_watchers: list[Watcher] = []


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Let `watcher` show what is reported inside."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def begin() -> None:
    """Report that a command begins, of which nothing is written yet."""
    keeping(lambda: NOTHING)
    stage("loading")


def stage(name: str) -> None:
    """Report that a stage begins, as `reading posts`."""
    for watcher in _watchers:
        watcher.stage(name)


def step(name: str, done: int, total: int, unit: str) -> None:
    """Report that `done` of `total` are done, in plural units as `posts`."""
    for watcher in _watchers:
        watcher.step(name, done, total, unit)


def detail(text: str) -> None:
    """Report the latest figures of the stage in a line of text."""
    for watcher in _watchers:
        watcher.detail(text)


def finish() -> None:
    """Report that the result is printed next."""
    for watcher in _watchers:
        watcher.finish()


def keeping(kept: Callable[[], str]) -> None:
    """Report what stays if the command is interrupted from now on, as a function that says it."""
    for watcher in _watchers:
        watcher.keeping(kept)
