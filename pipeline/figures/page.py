"""The page of a report: headline, sections of charts and tables, settings; one HTML file that needs no other."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from ...features.installation import DISTRIBUTION
from ...features.messages import printable
from ..runs.stored_run import StoredRun
from .facts import commands, facts, headline, settings_table
from .section import Section
from .words import Words

LONGEST = 500  # characters of a text
TEMPLATE = Path(__file__).with_name("page.html")


def render_page(runs: Sequence[StoredRun], sections: Sequence[Section], words: Words) -> str:
    """The page as HTML. Every text in it is escaped, control characters and marks of direction are shown as escapes."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["uri"] = Markup  # base64 of our own, which must not be cut
    environment.filters["svg"] = lambda chart: Markup(chart.to_svg())
    return environment.from_string(TEMPLATE.read_text("utf-8")).render(
        language={"en": "en", "zh": "zh-CN"}[words.language],
        title=title(runs),
        headline=headline(runs, words),
        facts=facts(runs, words),
        commands=[escape(printable(command)) for command in commands(runs)],  # in full, to be copied
        sections=sections,
        settings=settings_table(runs, words),
        words=words,
        program=f"msa {metadata.version(DISTRIBUTION)}",
    )


def title(runs: Sequence[StoredRun]) -> str:
    """The names of the runs."""
    return " · ".join(run.name for run in runs)


def _shown(value: Any) -> Any:
    """A value as the page shows it: a text without control characters, cut where it is very long."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return printable(value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…")
