"""What a command shows while it works: one live display on a terminal, or a plain line every ten seconds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ...features.messages import printable
from ...features.progress import NOTHING

if TYPE_CHECKING:  # rich takes a while to import, and quick commands need none of it
    from rich.console import Console, RenderableType
    from rich.live import Live

PERIOD = 0.2  # seconds between two pictures of the live display
PATIENCE = 0.3  # seconds without a display: quick commands show none
PLAIN_PERIOD = 10.0  # seconds between two lines where stderr is no terminal
FRAMES = "|/-\\"
NAME, BAR = 20, 12  # columns; counts, speed and time take up to 44 more


@dataclass
class Step:
    """A counted part of a stage."""

    name: str
    unit: str
    total: int
    first: int  # what was done when it was first reported
    done: int
    started: float = field(default_factory=lambda: monotonic())

    @property
    def rate(self) -> float | None:
        """Units per second; None before the first."""
        seconds = monotonic() - self.started
        return (self.done - self.first) / seconds if self.done > self.first and seconds > 0 else None

    @property
    def speed(self) -> str:
        """`12.3 posts/s`, or `4.1 s each` of slow ones; empty before the first and after the last."""
        if not self.rate or self.done >= self.total:
            return ""
        return f"{self.rate:.1f} {self.unit}/s" if self.rate >= 0.5 else f"{1 / self.rate:.1f} s each"

    @property
    def left(self) -> str:
        """`0:12 left`; empty where that is unknown."""
        return f"{clock((self.total - self.done) / self.rate)} left" if self.rate and self.done < self.total else ""

    @property
    def count(self) -> str:
        """`3/10`."""
        return f"{self.done}/{self.total}" if self.total else str(self.done)


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display:
    """Shows on stderr what is reported by `features/progress.py`; nothing where `quiet`.

    A thread draws, so that a report costs no more than storing it. The display ends with `finish`, begins again with
    the next stage, and on a terminal leaves nothing behind.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.name, self.text, self.since = "", "", 0.0
        self.steps: dict[str, Step] = {}
        self.kept: Callable[[], str] = lambda: NOTHING
        self.lock = threading.Lock()  # of the thread
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None

    def stage(self, name: str) -> None:
        """Begin a stage; the steps of the last one are forgotten."""
        self.name, self.text, self.steps, self.since = name, "", {}, monotonic()
        with self.lock:
            if self.thread is None and not self.quiet:
                self.ended = threading.Event()
                self.thread = threading.Thread(target=self._draw, args=(self.ended,), daemon=True)
                self.thread.start()

    def step(self, name: str, done: int, total: int, unit: str) -> None:
        """Store how far a step is."""
        known = self.steps.get(name)
        if known is None:
            self.steps = self.steps | {name: Step(name, unit, total, done, done)}  # the thread may be reading the old
        else:
            known.done, known.total = done, total

    def detail(self, text: str) -> None:
        """Store the figures of the stage."""
        self.text = text

    def keeping(self, kept: Callable[[], str]) -> None:
        """Store what stays after an interruption."""
        self.kept = kept

    def finish(self) -> None:
        """Remove the display, if there is one."""
        with self.lock:
            thread, self.thread = self.thread, None
        if thread is not None:
            self.ended.set()
            thread.join()

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.finish()

    def line(self) -> str:
        """The whole state in one line: `training gated: epochs 120/400, 39.3 epochs/s, 0:07 left; fold 3/10 …`."""
        steps = [", ".join(filter(None, (f"{one.name} {one.count}", one.speed, one.left))) for one in self._steps()]
        figures = "; ".join([*steps, *([self.text] if self.text else [])])
        return printable(f"{self.name}: {figures}" if figures else f"{self.name}, {clock(self.seconds)}")

    @property
    def seconds(self) -> float:
        """How long the stage has lasted."""
        return monotonic() - self.since

    def picture(self) -> RenderableType:
        """The state as a spinner with the stage, a bar for each step, and the figures."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        bars = Table.grid(padding=(0, 1, 0, 0))
        for width, justify in ((NAME, "left"), (BAR, "left"), (None, "right"), (None, "right"), (None, "right")):
            bars.add_column(max_width=width, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
        for one in self._steps():
            bar = ProgressBar(total=one.total or None, completed=one.done, width=BAR, complete_style="default")
            bars.add_row(Text(f"  {printable(one.name)}"), bar, *map(Text, (one.count, one.speed, one.left)))
        frame = FRAMES[int(self.seconds / PERIOD) % len(FRAMES)]
        head = Text.assemble((frame, "bold"), " ", printable(self.name), "  ", (clock(self.seconds), "dim"))
        lines = [head, *[Text(f"  {printable(self.text)}", style="dim")] * bool(self.text)]
        for line in lines:
            line.overflow, line.no_wrap = "ellipsis", True
        parts: list[RenderableType] = [head, *[bars] * bool(bars.row_count), *lines[1:]]
        return Group(*parts)

    def _steps(self) -> list[Step]:
        return list(self.steps.values())

    def _draw(self, ended: threading.Event) -> None:
        if sys.stderr.isatty():
            self._draw_live(ended)
        else:
            while not ended.wait(PLAIN_PERIOD):
                print(f"msa: {self.line()}", file=sys.stderr, flush=True)

    def _draw_live(self, ended: threading.Event) -> None:
        if ended.wait(PATIENCE):
            return
        live = begin_live()
        with live:
            while True:
                live.update(self.picture(), refresh=True)
                if ended.wait(PERIOD):
                    return


def begin_live() -> Live:
    """A live region on stderr that leaves nothing behind; other lines on stderr appear above it."""
    from rich.console import Console
    from rich.live import Live

    console: Console = Console(stderr=True)
    options: dict[str, Any] = {"transient": True, "auto_refresh": False, "redirect_stdout": False}
    return Live(console=console, vertical_overflow="crop", **options)
