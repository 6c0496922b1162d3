"""`msa report`: the page of one or several stored runs, and its figures as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...features.store.durable import make_folder, write_atomic
from ..runs.destination import check_writable
from .page import make_sections, render_page
from .stored import read_runs
from .words import Language, Words

FILE = "report.html"


@dataclass(frozen=True)
class Report:
    """The page, and the files of its figures."""

    path: Path
    figures: list[Path]

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {"report": str(self.path), "figures": [str(path) for path in self.figures]}

    def to_text(self) -> str:
        """Where both are."""
        where = f"{len(self.figures)} files of figures: {self.figures[0].parent}\n" if self.figures else ""
        return f"{where}report: {self.path}"


def write_report(
    paths: Sequence[Path], *, out: Path | None = None, figures: Path | None = None, language: Language = "auto"
) -> Report:
    """Write the page of these runs to `out`, and each figure to the folder `figures` as PNG, SVG, PDF and CSV.

    Without `out`, the page of one run is `report.html` in its folder, that of several `report.html` in this one.
    Raises ValueError where a run is missing or damaged, or the files cannot be written.
    """
    runs, words = read_runs(paths), Words(language)
    out = out or (runs[0].path / FILE if len(runs) == 1 else Path(FILE))
    if out.is_dir():
        raise ValueError(f"--out {out}: a folder; give a file, as {out / FILE}")
    check_writable(out.parent, "--out")
    if figures:
        check_writable(figures, "--figures")
    sections = make_sections(runs, words)
    make_folder(out.parent)
    write_atomic(out, render_page(runs, sections, words).encode("utf-8", "backslashreplace"))
    charts = [chart for section in sections for chart in section.charts]
    return Report(out, [path for chart in charts for path in chart.write(figures)] if figures else [])
