"""The page of a report: headline, sections of charts and tables, settings; one HTML file that needs no other."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import escape

from ...features.messages import printable
from ..runs.stored_run import StoredRun
from .facts import commands, facts, headline, settings_table
from .html import render
from .section import Section
from .words import Words


def render_page(runs: Sequence[StoredRun], sections: Sequence[Section], words: Words) -> str:
    """The page as HTML."""
    return render(
        "page.html",
        words,
        title=title(runs),
        headline=headline(runs, words),
        facts=facts(runs, words),
        commands=[escape(printable(command)) for command in commands(runs)],  # in full, to be copied
        sections=sections,
        settings=settings_table(runs, words),
    )


def title(runs: Sequence[StoredRun]) -> str:
    """The names of the runs."""
    return " · ".join(run.name for run in runs)
