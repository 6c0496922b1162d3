"""The parts of a report: sections of charts, tables and notes, and what a reader chose to see in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...features.csv_text import to_csv
from ...features.messages import near_or_all
from ...features.posts.samples import Corpus
from ...features.store.durable import make_folder, write_atomic
from ..evaluation.table_formats import Cell, PaperTable
from ..inspection.post_cards import PostList
from ..metrics.scores import METRICS
from ..metrics.tables import Cells
from ..runs.stored_run import StoredRun
from .chart import Chart
from .words import Words

NARROW = 48  # characters of a row that half the width of a page holds


@dataclass(frozen=True)
class Table:
    """A table: the name of its files, a caption, a header, and rows of cells; the first column is text.

    The cells of `texts` tables are texts, too, which may be long.
    """

    name: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    texts: bool = False

    @property
    def wide(self) -> bool:
        """Whether half the width of a page is too little for it."""
        widths = (max(len(str(cell)) for cell in column) for column in zip(*self.rows, strict=True))
        return self.texts or sum(widths) + 2 * len(self.header) > NARROW

    def write(self, folder: Path) -> list[Path]:
        """Write NAME.csv, NAME.md and NAME.tex to a folder."""
        make_folder(folder)
        paper = self.to_paper()
        content = {"csv": to_csv(self.header, self.rows), "md": paper.to_markdown(), "tex": paper.to_latex()}
        paths = {folder / f"table-{self.name}.{kind}": text for kind, text in content.items()}
        for path, text in paths.items():
            write_atomic(path, f"{text.rstrip()}\n".encode("utf-8", "backslashreplace"))
        return list(paths)

    def to_paper(self) -> PaperTable:
        """The table for a paper."""
        rows = [[Cell(str(cell)) for cell in row] for row in self.rows]
        return PaperTable(self.header, rows, self.caption)


@dataclass(frozen=True)
class Section:
    """A part of the report; one without charts, tables and posts is left out. Its `notes` warn."""

    title: str
    charts: Sequence[Chart]
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    intro: str = ""
    posts: Sequence[PostList] = ()


@dataclass(frozen=True)
class Shown:
    """What a reader chose: the metric of curves and heat maps, and the two settings of the pivot, by default the two
    that matter most. `corpus` are the posts of a single run, to show their texts and pictures."""

    metric: str = "accuracy"
    pivot: tuple[str, str] | None = None
    corpus: Corpus | None = None


def read_shown(metric: str, pivot: str) -> Shown:
    """What the options name. Raises ValueError for an unknown metric, or unless two settings are given."""
    if metric not in METRICS:
        raise ValueError(f"--metric {metric}: unknown{near_or_all(metric, METRICS)}")
    names = tuple(name.strip().replace("-", "_") for name in pivot.split(",") if name.strip())
    if len(names) not in (0, 2):
        raise ValueError(f"--pivot wants two settings, as lr,hidden; got {pivot!r}")
    return Shown(metric, (names[0], names[1]) if names else None)


Maker = Callable[[Sequence[StoredRun], Words, Shown], Section]


def translated(name: str, caption: str, cells: Cells, words: Words) -> Table:
    """A table whose caption and header are in the language of the report."""
    return Table(
        name, words(caption), [words(cell) for cell in cells[0]], [[one.strip() for one in row] for row in cells[1]]
    )
