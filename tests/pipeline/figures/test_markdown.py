"""The skeleton of a written report: its figures and tables are there, its texts are literal, both languages."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from figure_runs import MADE, stored_run
from stored_runs import answers, store_run

from msa.cli import run_command
from msa.pipeline.figures import chart
from msa.pipeline.figures.markdown import render_markdown
from msa.pipeline.figures.sections import make_sections
from msa.pipeline.figures.words import Words


def test_every_figure_is_linked_and_every_table_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart, "FORMATS", ("png",))
    monkeypatch.setattr(chart, "DPI", 20)
    run = store_run(tmp_path / "a run", [answers(0, 20, wrong=[3]), answers(20, 40)])
    assert run_command(["report", str(run), "--markdown", str(tmp_path / "text" / "report.md")]) == 0
    text = (tmp_path / "text" / "report.md").read_text("utf-8")
    links = [unquote(link) for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)]
    assert {"figures/confusion.png", "figures/epochs-loss.png", "figures/roc.png"} <= {*links}
    assert all((tmp_path / "text" / link).is_file() for link in links)
    assert "| class | precision | recall | F1 | support |" in text
    assert re.search(r"\| neg \| [01]\.\d+ \| [01]\.\d+ \| 0\.\d+ \| 20 \|", text)
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Task and data",
        "## Method",
        "## Results",
        "## Discussion",
    ]
    latex = (tmp_path / "text" / "figures" / "table-classes.tex").read_text("utf-8")
    assert latex.count(r"\\") == 3
    assert "pos & 0.952" in latex
    assert "caption{Scores by class}" in latex


def test_texts_are_literal_and_the_language_is_chosen() -> None:
    run = replace(stored_run("<b>|run*", ("<script>", "a|b", "c")), made=MADE)
    words = Words("zh")
    text = render_markdown(
        [run], make_sections([run], words), words, figures=Path("x y/figures"), file=Path("x y/report.md")
    )
    assert "\\<script\\>" in text
    assert "<script>" not in text
    assert "a\\|b" in text
    assert "](figures/confusion.png)" in text
    assert "## 讨论" in text
    assert "- 数据: corpus (50 条帖子)" in text
    assert "    msa train-head posts" in text
    assert {*re.findall(r"<!-- (\S+) -->", text)} >= {"局限、错误分析、下一步的尝试"}
