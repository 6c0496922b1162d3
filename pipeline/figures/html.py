"""Pages that need no other file: templates of this folder, filled in one way, with one style."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ...features.installation import DISTRIBUTION
from ...features.messages import printable
from .words import Words

LONGEST = 500  # characters of a text
FOLDER = Path(__file__).parent


def render(template: str, words: Words, **values: Any) -> str:
    """The page of a template of this folder, as HTML.

    Every text in it is escaped, control characters and marks of direction are shown as escapes.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.filters["uri"] = Markup  # base64 of our own, which must not be cut
    environment.filters["svg"] = lambda chart: Markup(chart.to_svg())
    return environment.from_string((FOLDER / template).read_text("utf-8")).render(
        language={"en": "en", "zh": "zh-CN"}[words.language],
        style=Markup((FOLDER / "page.css").read_text("utf-8")),
        program=f"msa {metadata.version(DISTRIBUTION)}",
        words=words,
        **values,
    )


def _shown(value: Any) -> Any:
    """A value as a page shows it: a text without control characters, cut where it is very long."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return printable(value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…")
