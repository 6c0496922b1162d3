"""The live display on a terminal and the plain lines of a pipe."""

from __future__ import annotations

import io
import sys
import time

import pytest
from rich.cells import cell_len
from rich.console import Console

from msa.pipeline.commands import display
from msa.pipeline.commands.display import Display, clock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, as a list of one number that a test moves on."""
    clock = [100.0]
    monkeypatch.setattr(display, "monotonic", lambda: clock[0])
    return clock


def watching(shown: Display, now: list[float]) -> None:
    """Report a stage of which a third is done after ten seconds."""
    shown.stage("training gated")
    shown.step("epochs", 0, 120, "epochs")
    now[0] += 10
    shown.step("epochs", 40, 120, "epochs")
    shown.detail("fold 1/3 · epoch 40/40 · loss 0.812")


def test_a_line_has_the_stage_the_count_the_rate_and_the_time_left(now: list[float]) -> None:
    shown = Display(quiet=True)
    watching(shown, now)
    steps = "epochs 40/120, 4.0 epochs/s, 0:20 left"
    assert shown.line() == f"training gated: {steps}; fold 1/3 · epoch 40/40 · loss 0.812"
    shown.step("epochs", 120, 120, "epochs")
    assert shown.line().startswith("training gated: epochs 120/120; ")
    shown.stage("drawing the report")
    now[0] += 75
    assert shown.line() == "drawing the report, 1:15"


def test_what_was_done_before_does_not_count_as_speed(now: list[float]) -> None:
    shown = Display(quiet=True)
    shown.stage("searching")
    shown.step("head-epochs", 500, 1000, "epochs")
    assert shown.line() == "searching: head-epochs 500/1000"
    now[0] += 10
    shown.step("head-epochs", 501, 1000, "epochs")
    assert shown.line() == "searching: head-epochs 501/1000, 10.0 s each, 1:23:10 left"


def test_times_are_read_at_a_glance() -> None:
    assert [clock(seconds) for seconds in (0.4, 65, 3725)] == ["0:00", "1:05", "1:02:05"]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "一个名字很长的图像编码器" * 2, "x" * 200, "\x1b[31m"])
def test_the_live_display_fits_80_columns_whatever_the_names(name: str, now: list[float]) -> None:
    shown = Display(quiet=True)
    shown.stage(f"embedding {name}")
    shown.step(name, 0, 4_000_000, "items")
    now[0] += 1000
    shown.step(name, 1_234_567, 4_000_000, "items")
    shown.detail(f"loading {name} " * 3)
    file = io.StringIO()
    Console(file=file, width=80, force_terminal=False).print(shown.picture())
    lines = file.getvalue().splitlines()
    assert len(lines) == 3
    assert max(map(cell_len, lines)) <= 80
    assert "1234567/4000000" in lines[1]
    assert "left" in lines[1]
    assert "\x1b" not in file.getvalue()


def test_a_pipe_gets_plain_lines_and_none_from_quick_or_quiet_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Display() as shown:
        shown.stage("reading posts")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(display, "PLAIN_PERIOD", 0.01)
    with Display(quiet=True) as shown:
        shown.stage("reading posts")
        assert shown.thread is None
    printed: list[str] = []
    monkeypatch.setattr(display, "print", lambda line, **where: printed.append(line), raising=False)
    with Display() as shown:
        shown.stage("reading posts")
        shown.step("contents", 1, 3, "posts")
        until = time.monotonic() + 60
        while len(printed) < 2 and time.monotonic() < until:
            time.sleep(0.01)
    assert printed[-1] == "msa: reading posts: contents 1/3"
    count = len(printed)
    time.sleep(0.05)
    assert len(printed) == count  # the thread has ended


def test_a_terminal_gets_a_display_that_leaves_nothing_and_lets_notices_through(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(display, "PATIENCE", 0.0)
    monkeypatch.setattr(display, "PERIOD", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    before = sys.stderr
    with Display() as shown:
        shown.stage("reading posts")
        until = time.monotonic() + 60
        while sys.stderr is before and time.monotonic() < until:
            time.sleep(0.01)
        print("msa: a notice", file=sys.stderr)
    assert sys.stderr is before
    printed = capsys.readouterr().err
    assert "reading posts" in printed
    assert "msa: a notice" in printed
    assert printed.endswith("\x1b[2K")  # the last picture is erased
