"""`msa table --grid` and `msa compare`: runs as a table of encoders by heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...features.csv_text import BOM, to_csv
from ...features.spec import MODALITIES
from ...features.text_table import Part, Report
from .run_table import Format, RunTable, heading
from .table_formats import Cell, PaperTable
from .table_rows import TableRow, grouped, listed


@dataclass(frozen=True)
class RunGrid(Report):
    """A row for each combination of encoders, a column for each head and metric, a run in each cell."""

    table: RunTable

    def __post_init__(self) -> None:
        """Raises ValueError where two runs have the same encoders and head."""
        for (encoders, head), names in grouped((_place(row), row.name) for row in self.table.rows).items():
            if len(names) > 1:
                raise ValueError(
                    f"{len(names)} runs are of the head {head} on {encoders}: {listed(names)}; name the runs to show"
                )

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`: that of the table of runs, with the encoders and the head of each row."""
        found = self.table.to_dict()
        rows = [_named(row) | stored for row, stored in zip(self.table.rows, found["rows"], strict=True)]
        return found | {"rows": rows}

    def parts(self) -> list[Part]:
        """The grid as the command prints it."""
        return self.to_paper().parts()

    def to_text(self, to: Format = "text") -> str:
        """The grid in this format; CSV has a line for each run, as of `RunTable`, with its encoders and head."""
        if to == "csv":
            lines = [_named(row) | self.table.flat(row) for row in self.table.rows]
            return to_csv(list(lines[0]), (line.values() for line in lines)).removeprefix(BOM).rstrip("\n")
        paper = self.to_paper()
        return {"text": paper.to_text, "markdown": paper.to_markdown, "latex": paper.to_latex}[to]()

    def to_paper(self) -> PaperTable:
        """The grid that the formats of papers show; a combination without a run is a dash."""
        places = {_place(row): row for row in self.table.rows}
        encoders, heads = (list(dict.fromkeys(place)) for place in zip(*places, strict=True))
        columns = [(metric, head) for metric in self.table.metrics for head in heads]
        several = len(self.table.metrics) > 1
        header = ["Encoders", *(f"{heading(metric)}, {head}" if several else head for metric, head in columns)]

        def show(encoders: str, metric: str, head: str) -> Cell:
            row = places.get((encoders, head))
            return self.table.metric_cell(row, metric) if row else Cell("-")

        rows = [[Cell(name), *(show(name, metric, head) for metric, head in columns)] for name in encoders]
        caption = self.table.caption() if several else f"{heading(self.table.metrics[0])}. {self.table.caption()}"
        return PaperTable(header, rows, caption, self.table.notes(cells_alone=True))


def _place(row: TableRow) -> tuple[str, str]:
    """The encoders of a run, those of images first, and its head."""
    named = row.run.config["encoders"]
    sides = ([str(one["name"]) for one in named.get(modality, ())] for modality in MODALITIES)
    return " + ".join(name for side in sides for name in side) or "none", row.scores.fusion


def _named(row: TableRow) -> dict[str, Any]:
    encoders, head = _place(row)
    return {"encoders": encoders, "head": head}
