"""The skeleton of a written report in Markdown: facts, figures that are linked, tables, and places for the text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from ...features.messages import printable
from ..evaluation.table_formats import escape_markdown
from ..runs.stored_run import StoredRun
from .facts import commands, facts, headline, settings_table
from .page import title
from .section import Section, Table
from .words import Words

PLACES = ("Task and data", "Method", "Results", "Discussion", "Reproduction")  # headings of the skeleton


def render_markdown(
    runs: Sequence[StoredRun], sections: Sequence[Section], words: Words, *, figures: Path, file: Path
) -> str:
    """The report as Markdown for `file`, with links to the images in the folder `figures`.

    What a writer fills in is an HTML comment, which no reader sees.
    """
    task, method, results, discussion, again = (words(one) for one in PLACES)
    lines = [f"# {_text(title(runs))}", "", f"## {task}", "", _ask(words("which question, which posts, which labels"))]
    lines += ["", *(f"- {_text(name)}: {_text(value)}" for name, value in facts(runs, words))]
    lines += ["", f"## {method}", "", _ask(words("encoders, fusion, training, and why")), ""]
    if settings := settings_table(runs, words):
        lines += [*_table(settings), ""]
    lines += [f"## {results}", ""]
    lines += [f"- {_text(name)}: **{value}** ({_text(note)})" for name, value, note in headline(runs, words)]
    for section in sections:
        lines += ["", f"### {_text(section.title)}", "", _ask(words("what is seen here, and what follows from it")), ""]
        lines += [_text(section.intro), ""] if section.intro else []
        for note in section.notes:
            lines += [f"> {_text(note)}", ""]
        for chart in section.charts:
            link = quote(os.path.relpath(figures / f"{chart.name}.png", file.parent))
            lines += [f"![{_text(chart.title)}]({link})", "", f"*{_text(chart.title)}. {_text(chart.caption)}*", ""]
        for table in section.tables:
            lines += [*_table(table), ""]
    lines += [f"## {discussion}", "", _ask(words("limits, errors, what to try next")), ""]
    if found := commands(runs):
        lines += [f"## {again}", "", *(f"    {printable(command)}" for command in found)]
    return "\n".join([*lines, ""])


def _ask(text: str) -> str:
    return f"<!-- {text} -->"


def _text(text: object) -> str:
    return escape_markdown(" ".join(str(text).split()))


def _table(table: Table) -> list[str]:
    caption = [f"*{_text(table.caption)}*", ""] if table.caption else []
    return [*caption, *table.to_paper().to_markdown().partition("\n\n")[0].splitlines()]
