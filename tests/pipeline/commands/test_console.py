"""How results and notices are printed: plain in a pipe, styled and no wider than the terminal on one."""

from __future__ import annotations

import re
import sys

import pytest
from rich.cells import cell_len

from msa.features.text_table import Table
from msa.pipeline.commands import console
from msa.pipeline.commands.console import fold, note, print_parts

TABLE = Table(
    ["system", "accuracy", "note"],
    [["gated", "0.718 ±0.014", "微博情感分析"], ["多模态", "0.70", "x" * 90]],
    "Head and baselines",
    [0],
)


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stdout and stderr be a terminal's."""
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(console, "width", lambda: 80)


def test_a_pipe_gets_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_parts([TABLE, "a paragraph " * 20])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.startswith("Head and baselines\nsystem      accuracy  note\n")
    assert out.endswith(f"\n\n{'a paragraph ' * 20}\n")


def test_a_terminal_gets_titles_and_the_best_row_in_bold_and_no_line_too_wide(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch)
    print_parts([TABLE, "a paragraph " * 20])
    out = capsys.readouterr().out
    assert "\x1b[1mHead and baselines\x1b[0m" in out
    assert "\x1b[1;32mgated" in out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert max(map(cell_len, plain.splitlines())) <= 80
    assert plain.count("x") == 90
    assert "微博情感分析" in plain
    monkeypatch.setenv("NO_COLOR", "1")
    print_parts([TABLE])
    out = capsys.readouterr().out
    assert "\x1b[1mgated" in out
    assert "32m" not in out


def test_a_label_cannot_style_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch)
    print_parts([Table(["[bold]a[/bold]"], [["\x1b[31m[red]x"]]), "\x1b[31m[red]y"])
    out = capsys.readouterr().out
    assert "\x1b[31m" not in out
    assert "\\x1b[31m[red]x" in out
    assert "[bold]a[/bold]" in out


def test_a_long_notice_breaks_between_words_and_leaves_commands_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch)
    command = "`msa extract posts --image efficientnet_lite0 --text minilm --cache cache`"
    note(f"the cache lacks 17 of these posts, so they were left out; {command} embeds them all, once and for all")
    lines = capsys.readouterr().err.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert any(command in line for line in lines)
    assert all(line.startswith("  ") for line in lines[1:])


def test_folding_counts_wide_characters_and_keeps_indents_and_short_lines() -> None:
    assert fold("short\n  indented", 80) == "short\n  indented"
    assert fold("情感 分析 情感", 10) == "情感 分析\n  情感"
    assert fold("  one two", 7) == "  one\n    two"
