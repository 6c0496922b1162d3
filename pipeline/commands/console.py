"""What commands print: results, warnings, progress on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

Tick = Callable[[str, int, int], None]


def show(result: Any, as_json: bool, **options: Any) -> None:
    """Print a result as its text, which `options` may shape, or as one JSON object."""
    print(json.dumps(result.to_dict(), ensure_ascii=False) if as_json else result.to_text(**options))


def note(message: str) -> None:
    """Print a line for the user on stderr, so that stdout holds the result alone."""
    print(f"msa: {message}", file=sys.stderr)


@contextmanager
def progress(unit: str) -> Iterator[Tick]:
    """A bar per name on stderr with rate and time left: call the result with (name, done, total)."""
    if not sys.stderr.isatty():
        yield lambda name, done, total: None
        return
    from rich import progress as rich
    from rich.console import Console
    from rich.text import Text

    class Rate(rich.ProgressColumn):
        def render(self, task: rich.Task) -> Text:
            return Text(f"{task.speed:.1f} {unit}/s" if task.speed else "")

    name = rich.TextColumn("{task.description}")
    columns = name, rich.BarColumn(), rich.MofNCompleteColumn(), Rate(), rich.TimeRemainingColumn()
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task_of = cache(bars.add_task)  # name -> its bar
        yield lambda name, done, total: bars.update(task_of(name), completed=done, total=total)
