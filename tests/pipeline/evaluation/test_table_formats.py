"""Texts come out of LaTeX and Markdown as they went in; bold and marks are where they belong."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from latex import compile_latex
from markdown_it import MarkdownIt

from msa.pipeline.evaluation.table_formats import Cell, PaperTable, escape_latex

NASTY = [
    *("gated_2 & 50%", r"a\b{c}$x$#1", "~tilde^hat|bar", "[h] *star*", "<b>bold</b>", "`code` ``x'' a---b?`!`"),
    *("**strong** __x__", "![image](x)", "&amp; &lt;", "# heading", "1. list", "café", "a\nb\u202ec", '"quoted"'),
]
TABLE = PaperTable(
    ["Run", "Accuracy", "p_1"],
    [
        *([Cell(name), Cell("0.700 ± 0.010"), Cell("-")] for name in NASTY),
        [Cell("best"), Cell("0.731 ± 0.012 [0.70, 0.75]", "**", best=True), Cell("<0.001", "*")],
    ],
    "Mean ± sd of 50 % of [all] posts & more.",
    ["* p < 0.05", "gated_2: no test"],
)


class Rows(HTMLParser):
    """The text of each cell of a table, with the tags inside."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in ("td", "th"):
            self.cells.append("")
        self.inside = tag in ("td", "th") or self.inside
        if self.inside and tag not in ("td", "th"):
            self.cells[-1] += f"<{tag}>"

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


def test_markdown_shows_every_text_as_it_is() -> None:
    page = MarkdownIt("commonmark").enable("table").render(TABLE.to_markdown())
    rows = Rows()
    rows.feed(page)
    visible = [name.replace("\n", r"\n").replace("\u202e", r"\u202e") for name in NASTY]
    assert rows.cells[:3] == ["Run", "Accuracy", "p_1"]
    assert rows.cells[3:-3:3] == visible
    assert rows.cells[-3:] == ["best", "<strong>0.731 ± 0.012 [0.70, 0.75]**", "<0.001*"]
    assert page.count("<strong>") == 1
    assert page.count("<li>") == 3
    assert "<li>* p &lt; 0.05</li>" in page


def test_text_aligns_numbers_and_leaves_room_for_marks() -> None:
    lines = PaperTable(["Run", "A"], [[Cell("x"), Cell("0.7")], [Cell("y"), Cell("0.8", "**", True)]], "c", ["n"])
    assert lines.to_text().splitlines() == ["Run      A", "---  -----", "x    0.7", "y    0.8**", "", "c", "n"]


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("gated_2 & 50%", r"gated\_2 \& 50\%"),
        (r"\x{1}^~", r"\textbackslash{}x\{1\}\textasciicircum{}\textasciitilde{}"),
        ("[h]*<|>", r"{[}h{]}{*}\textless{}\textbar{}\textgreater{}"),
        ("a--b ''c'' t-test", "a-{}-b '{}'c'{}' t-test"),
        ("a\nb", r"a\textbackslash{}nb"),
        ("café", "café"),
    ],
)
def test_latex_escapes_what_it_would_take_for_a_command(text: str, latex: str) -> None:
    assert escape_latex(text) == latex


def test_latex_is_a_table_with_rules_bold_and_marks() -> None:
    lines = TABLE.to_latex().splitlines()
    assert lines[0] == r"% \usepackage{booktabs}"
    assert lines[1:4] == [r"\begin{table}", r"  \centering", r"  \caption{" + escape_latex(TABLE.caption) + "}"]
    assert r"    best & \textbf{0.731 $\pm$ 0.012 {[}0.70, 0.75{]}}$^{**}$ & \textless{}0.001$^{*}$ \\" in lines
    assert [line.strip() for line in lines if "rule" in line] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert not any("pdflatex" in line for line in lines)


def test_names_that_pdflatex_cannot_set_are_pointed_out() -> None:
    found = PaperTable(["Run", "A"], [[Cell("门控"), Cell("0.7")]], "c").to_latex().splitlines()
    assert found[1] == r"% not for pdflatex: compile with xelatex; for Chinese, \usepackage{ctex}"
    assert r"    门控 & 0.7 \\" in found


@pytest.mark.slow
def test_latex_compiles(tmp_path: Path) -> None:
    compile_latex(tmp_path, TABLE.to_latex())
