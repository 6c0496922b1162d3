"""A table for a paper as text, Markdown, or LaTeX with booktabs; every special character of its texts is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...features.text_table import Part, Report, Table

LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "−": "$-$", "Δ": r"$\Delta$", '"': r"\char34{}"},
    **{"[": "{[}", "]": "{]}", "*": "{*}"},  # after the end of a row these begin an option
}
LIGATURES = re.compile(r"(?<=[-'`?!])(?=[-'`])")  # where two characters would become one
LAST_OF_PDFLATEX = "\u017f"  # Latin letters with accents end here
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


@dataclass(frozen=True)
class Cell:
    """What a cell shows: a text, set in bold where it is the `best` of its column, and a mark of significance."""

    text: str
    mark: str = ""
    best: bool = False


@dataclass(frozen=True)
class PaperTable(Report):
    """A header, the rows below it, a caption, and notes; the first column is a name, all others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str
    notes: Sequence[str] = ()

    def parts(self) -> list[Part]:
        """Aligned columns; bold cells on a terminal."""
        widths = [max(len(cell.mark) for cell in column) for column in zip(*self.rows, strict=True)]
        lines = [
            [cell.text + cell.mark.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in self.rows
        ]
        bold = [(at, column) for at, row in enumerate(self.rows) for column, cell in enumerate(row) if cell.best]
        return [Table(self.header, lines, bold=bold), "\n".join([self.caption, *self.notes])]

    def to_markdown(self) -> str:
        """A table of GitHub's Markdown; the caption and the notes are a list below it."""

        def show(cell: Cell) -> str:
            text = escape_markdown(cell.text)
            return (f"**{text}**" if cell.best else text) + escape_markdown(cell.mark)

        lines = [map(escape_markdown, self.header), ["---", *["---:"] * (len(self.header) - 1)]]
        lines += [map(show, row) for row in self.rows]
        notes = (f"- {escape_markdown(note)}" for note in (self.caption, *self.notes))
        return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *notes])

    def to_latex(self) -> str:
        """A table environment; it needs the package booktabs."""

        def show(cell: Cell) -> str:
            text = escape_latex(cell.text)
            return (rf"\textbf{{{text}}}" if cell.best else text) + (f"$^{{{cell.mark}}}$" if cell.mark else "")

        body = [f"    {' & '.join(map(show, row))} \\\\" for row in self.rows]
        lines = [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape_latex(self.caption)}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(self.header) - 1)}}}",
            r"    \toprule",
            f"    {' & '.join(map(escape_latex, self.header))} \\\\",
            r"    \midrule",
            *body,
            r"    \bottomrule",
            r"  \end{tabular}",
            *([rf"  \par\smallskip{{\footnotesize {escape_latex(' '.join(self.notes))}\par}}"] * bool(self.notes)),
            r"\end{table}",
        ]
        others = any(character > LAST_OF_PDFLATEX for line in lines for character in line)
        needs = [
            "% \\usepackage{booktabs}",
            *["% not for pdflatex: compile with xelatex; for Chinese, \\usepackage{ctex}"] * others,
        ]
        return "\n".join([*needs, *lines])


def escape_latex(text: str) -> str:
    """The text as LaTeX shows it literally."""
    return "{}".join("".join(LATEX.get(one, one) for one in part) for part in LIGATURES.split(_visible(text)))


def escape_markdown(text: str) -> str:
    """The text as Markdown shows it literally."""
    return MARKDOWN.sub(r"\\\1", _visible(text))


def _visible(text: str) -> str:
    """The text with control characters and marks of direction as escapes."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
