"""The result of an ablation as text, as JSON and as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...features.csv_text import to_csv
from ...features.store.durable import write_atomic
from ...features.text_table import Part, Report, Table, paragraph
from ..metrics.scores import Summary
from ..metrics.statistics import INTERVAL_METRICS
from ..metrics.tables import SWEEP_METRICS, Cells, mean_sd, metric_title, split_text
from ..runs.results import STARS, AblationRow, starred


@dataclass(frozen=True)
class Ablation(Report):
    """The rows, the full head's first for each fusion, and the rows refused because no logit changed, with the reason.

    `shapley` has, by fusion, the Shapley values of `image` and `text`, and the metrics with `neither`.
    """

    fusion: str
    how: str
    part: str | None
    folds: int
    seeds: int
    rows: list[AblationRow]
    refused: dict[str, str]
    shapley: dict[str, dict[str, Summary]]
    notes: list[str]
    path: Path
    seconds: float
    made: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return vars(self) | {"rows": [asdict(row) for row in self.rows], "path": str(self.path)}

    def parts(self) -> list[Part]:
        """The tables that the command prints, and where the files are."""
        several = "," in self.fusion
        first = self.part or "inputs"
        method = f"--part {self.part}" if self.part else self.how
        means = [round(row.metrics["accuracy"]["mean"], 3) for row in self.rows]
        best = [at for at, mean in enumerate(means) if len(means) > 1 and mean == max(means)]
        title = f"{self.fusion}, {method}" + ": mean ± deviation over folds" * (self.folds > 1)
        pieces: list[Part] = [Table(*_metric_cells(self.rows, first, several), title, best)]
        pieces += paragraph([f"refused: {name}: {why}" for name, why in self.refused.items()])
        if any(row.tests for row in self.rows):
            title = f"Differences to the full head, 95 % intervals ({STARS})"
            pieces.append(Table(*_difference_cells(self.rows, first, several), title))
        if not several and len(self.rows) > 1:
            header = ["class", *(row.name for row in self.rows[1:])]
            lines = [
                [name, *(f"{row.f1_change[name]:+.3f}" for row in self.rows[1:])] for name in self.rows[0].f1_change
            ]
            pieces.append(Table(header, lines, "Change of F1 by class"))
        if self.shapley:
            pieces.append(Table(*_shapley_cells(self.shapley), "Shapley values: what a modality adds on average"))
        pieces += paragraph(self.notes)
        folds = split_text(self.folds) + (f", {self.seeds} seeds" if self.seeds > 1 else "")
        pieces.append(f"{folds}, {self.seconds:.1f} s\nwritten to {self.path}")
        return pieces


def _metric_cells(rows: list[AblationRow], first: str, several: bool) -> Cells:
    """Mean and deviation of each metric over the folds."""
    lines = [[row.name, *(mean_sd(row.metrics[name]) for name in SWEEP_METRICS)] for row in rows]
    return _with_fusion(rows, [first, *map(metric_title, SWEEP_METRICS)], lines, several)


def _difference_cells(rows: list[AblationRow], first: str, several: bool) -> Cells:
    """Differences from the full head, with intervals and tests."""
    compared = [row for row in rows if row.tests]
    lines = [
        [
            row.name,
            *(_difference(row, name) for name in INTERVAL_METRICS),
            *(starred(p) for p in _p_values(row)[: 1 if several else 2]),
        ]
        for row in compared
    ]
    tests = ["McNemar p", "t test p"][: 1 if several else 2]
    header = [first, *(f"Δ {metric_title(name)}" for name in INTERVAL_METRICS), *tests]
    return _with_fusion(compared, header, lines, several)


def _p_values(row: AblationRow) -> tuple[float | None, float | None]:
    """Of McNemar's test and of the corrected t-test of accuracy."""
    return (row.tests.mcnemar, row.tests.corrected_t["accuracy"]) if row.tests else (None, None)


def _with_fusion(rows: list[AblationRow], header: list[str], lines: list[list[str]], several: bool) -> Cells:
    """The same with a column for the fusion, if there are several."""
    if not several:
        return header, lines
    return ["fusion", *header], [[row.fusion, *line] for row, line in zip(rows, lines, strict=True)]


def _difference(row: AblationRow, name: str) -> str:
    """`-0.021 [-0.040, -0.003]`, without the bounds of too few groups."""
    bounds = row.difference_intervals[name]
    return f"{row.difference[name]:+.3f}" + f" [{bounds.low:+.3f}, {bounds.high:+.3f}]" * bounds.reliable


def _shapley_cells(found: Mapping[str, Mapping[str, Summary]]) -> Cells:
    """One line per head and modality; that of neither has the metrics themselves, not a gain."""
    signs = {"image": "+", "text": "+", "neither": ""}
    lines = [
        [fusion, modality, *(f"{value[modality][name]['mean']:{sign}.3f}" for name in INTERVAL_METRICS)]
        for fusion, value in found.items()
        for modality, sign in signs.items()
    ]
    return ["head", "modality", *map(metric_title, INTERVAL_METRICS)], lines


def write_ablation(ablation: Ablation, settings: Mapping[str, Any], folder: Path) -> None:
    """Write ablation.json, with the settings, and ablation.csv, one line per row, to a folder."""
    found = {name: value for name, value in ablation.to_dict().items() if name != "path"}
    content = json.dumps(found | dict(settings), indent=2, ensure_ascii=False)
    write_atomic(folder / "ablation.json", content.encode())
    lines = [_flat(row) for row in ablation.rows]
    header = list(dict.fromkeys(key for line in lines for key in line))
    csv = to_csv(header, ([line.get(key, "") for key in header] for line in lines))
    write_atomic(folder / "ablation.csv", csv.encode())


def _flat(row: AblationRow) -> dict[str, Any]:
    """All values of a row under one level of keys."""
    line: dict[str, Any] = {"fusion": row.fusion, "inputs": row.inputs, "variant": row.variant}
    line |= {f"{name}_{part}": value for name, both in row.metrics.items() for part, value in both.items()}
    line |= {f"{name}_difference": value for name, value in row.difference.items()}
    for prefix, found in (("", row.intervals), ("difference_", row.difference_intervals)):
        for name, one in found.items():
            line |= {f"{name}_{prefix}low": one.low, f"{name}_{prefix}high": one.high}
    line |= {f"f1_change_{label}": value for label, value in row.f1_change.items()}
    line |= {f"change_{name}": value for name, value in row.change.items()}
    if row.tests:
        names = ("mcnemar", "mcnemar_exact", "only_head", "only_other")
        line |= {name: getattr(row.tests, name) for name in names}
        line |= {f"corrected_t_{name}": p for name, p in row.tests.corrected_t.items()}
    return line
