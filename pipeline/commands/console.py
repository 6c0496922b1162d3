"""What commands print: results, warnings, progress on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Tick = Callable[[str, int, int], None]


def show(result: Any, as_json: bool) -> None:
    """Print a result as its text, or as one JSON object."""
    print(json.dumps(result.to_dict(), ensure_ascii=False) if as_json else result.to_text())


def note(message: str) -> None:
    """Print a line for the user on stderr, so that stdout holds the result alone."""
    print(f"msa: {message}", file=sys.stderr)


@contextmanager
def progress(unit: str) -> Iterator[Tick]:
    """A bar per name on stderr with rate and time left: call the result with (name, done, total)."""
    if not sys.stderr.isatty():
        yield lambda name, done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f} {unit}/s" if task.speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, object] = {}

        def tick(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)  # type: ignore[arg-type]

        yield tick
