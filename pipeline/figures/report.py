"""`msa report`: the page of one or several stored runs, its figures and tables as files, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...features.progress import stage
from ...features.store.durable import make_folder, write_atomic
from ..inspection.exploration import Exploration
from ..inspection.inspected_run import inspect_single
from ..inspection.post_tables import write_posts
from ..runs.destination import check_writable
from ..runs.stored_run import read_runs
from .facts import settings_table
from .markdown import render_markdown
from .page import render_page
from .section import Shown
from .sections import make_sections
from .words import Language, Words

FILE, MARKDOWN, FIGURES = "report.html", "report.md", "figures"


@dataclass(frozen=True)
class Report:
    """The page, the files of its figures and tables, the Markdown, and a table of posts to explore."""

    path: Path
    figures: list[Path]
    markdown: Path | None = None
    exploration: Exploration | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        found: dict[str, Any] = {"report": str(self.path), "figures": [str(path) for path in self.figures]}
        found |= {"markdown": str(self.markdown)} if self.markdown else {}
        return found | (self.exploration.to_dict() if self.exploration else {})

    def to_text(self) -> str:
        """Where they are."""
        lines = [f"{len(self.figures)} files of figures and tables: {self.figures[0].parent}"] if self.figures else []
        lines += [f"markdown: {self.markdown}"] if self.markdown else []
        lines += [self.exploration.to_text()] if self.exploration else []
        return "\n".join([*lines, f"report: {self.path}"])


def write_report(
    paths: Sequence[Path],
    *,
    out: Path | None = None,
    figures: Path | None = None,
    markdown: Path | None = None,
    language: Language = "auto",
    shown: Shown | None = None,
) -> Report:
    """Write the page of these runs to `out`, each figure to the folder `figures` as PNG, SVG, PDF and CSV, each table
    there as CSV, Markdown and LaTeX, the test posts of a single run there as CSV, and the skeleton of a written report
    to the file or folder `markdown`.

    Without `out`, the page of one run is `report.html` in its folder, that of several `report.html` in this one. With
    `markdown` alone, the figures are in a folder beside it. Raises ValueError where a run is missing or damaged, or the
    files cannot be written.
    """
    stage("drawing the report")
    runs, words = read_runs(paths), Words(language)
    out = out or (runs[0].path / FILE if len(runs) == 1 else Path(FILE))
    if out.is_dir():
        raise ValueError(f"--out {out}: a folder; give a file, as {out / FILE}")
    check_writable(out.parent, "--out")
    if markdown:
        markdown = markdown / MARKDOWN if markdown.is_dir() or not markdown.suffix else markdown
        figures = figures or markdown.parent / FIGURES
        check_writable(markdown.parent, "--markdown")
    if figures:
        check_writable(figures, "--figures")
    sections = make_sections(runs, words, shown)
    make_folder(out.parent)
    write_atomic(out, render_page(runs, sections, words).encode("utf-8", "backslashreplace"))
    files: list[Path] = []
    if figures:
        tables = [table for section in sections for table in section.tables]
        parts = [chart for section in sections for chart in section.charts], tables, [settings_table(runs, words)]
        files = [path for part in parts for one in part if one for path in one.write(figures)]
        if inspected := inspect_single(runs, shown.corpus if shown else None):
            files += write_posts(inspected, figures)
    if markdown and figures:
        make_folder(markdown.parent)
        text = render_markdown(runs, sections, words, figures=figures, file=markdown)
        write_atomic(markdown, text.encode("utf-8", "backslashreplace"))
    return Report(out, files, markdown)
