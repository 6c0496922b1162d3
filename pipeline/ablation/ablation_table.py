"""What an ablation found, as a table, as JSON, and as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...features.store.durable import write_atomic
from ...features.text_table import table
from ..evaluation.comparison import p_text
from ..metrics.statistics import RESAMPLED
from ..metrics.tables import mean_sd
from ..runs.runs import to_csv
from .results import AblationRow, Summary


@dataclass(frozen=True)
class Ablation:
    """The rows, the full head's first for each fusion; those that were refused because nothing changed, and why.

    `shapley` has, by fusion, the value of `image` and `text`, and the metrics with `neither`. `change` and `tests` of
    a full head's row are empty.
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

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return vars(self) | {"rows": [asdict(row) for row in self.rows], "path": str(self.path)}

    def to_text(self) -> str:
        """The tables that the command prints."""
        several = "," in self.fusion
        pieces = [table(*_main(self.rows, self.part or "inputs", several))]
        pieces[0] += "".join(f"\nrefused: {name}: {reason}" for name, reason in self.refused.items())
        if not several and len(self.rows) > 1:
            header = ["Δ f1 of", *self.rows[0].f1_change]
            lines = [[row.name, *(f"{v:+.3f}" for v in row.f1_change.values())] for row in self.rows[1:]]
            pieces.append(table(header, lines))
        if self.shapley:
            pieces.append(table(*_worth(self.shapley)))
        pieces += self.notes
        dealt = f"{self.folds} folds" if self.folds > 1 else "one split"
        dealt += f", {self.seeds} seeds" if self.seeds > 1 else ""
        what = f"--part {self.part}" if self.part else self.how
        pieces.append(f"{self.fusion}, {what}, {dealt}, {self.seconds:.1f} s; written to {self.path}")
        return "\n\n".join(pieces)


def _main(rows: list[AblationRow], what: str, several: bool) -> tuple[list[str], list[list[str]]]:
    names = [name.replace("_", " ") for name in RESAMPLED]
    header = [what, *names, *(f"Δ {name}, 95 %" for name in names), "McNemar p", "corrected t p"]
    lines = [
        [
            row.name,
            *(mean_sd(row.metrics[name]) for name in RESAMPLED),
            *(_gap(row, name) for name in RESAMPLED),
            p_text(row.tests.get("mcnemar")),
            p_text(row.tests.get("corrected_t", {}).get("accuracy")),
        ]
        for row in rows
    ]
    if several:
        return ["fusion", *header], [[row.fusion, *line] for row, line in zip(rows, lines, strict=True)]
    return header, lines


def _gap(row: AblationRow, name: str) -> str:
    """`-0.021 [-0.040, -0.003]`; a dash in the full head's row."""
    if not row.tests:
        return "-"
    ends = row.difference_intervals[name]
    return f"{row.difference[name]:+.3f} [{ends['low']:+.3f}, {ends['high']:+.3f}]"


def _worth(found: Mapping[str, Mapping[str, Summary]]) -> tuple[list[str], list[list[str]]]:
    places = [(side, name) for side in ("image", "text", "neither") for name in RESAMPLED]
    header = ["Shapley value", *(f"{side} {name.replace('_', ' ')}" for side, name in places)]
    signs = {"image": "+", "text": "+", "neither": ""}  # neither is where both start from
    lines = [
        [fusion, *(f"{value[side][name]['mean']:{signs[side]}.3f}" for side, name in places)]
        for fusion, value in found.items()
    ]
    return header, lines


def write_ablation(ablation: Ablation, settings: Mapping[str, Any]) -> None:
    """Write ablation.json, with the settings, and ablation.csv, a line per row, to the run folder."""
    content = json.dumps(ablation.to_dict() | dict(settings), indent=2, ensure_ascii=False)
    write_atomic(ablation.path / "ablation.json", content.encode())
    lines = [_flat(row) for row in ablation.rows]
    header = list(dict.fromkeys(key for line in lines for key in line))
    write_atomic(
        ablation.path / "ablation.csv",
        to_csv(header, ([line.get(key, "") for key in header] for line in lines)).encode(),
    )


def _flat(row: AblationRow) -> dict[str, Any]:
    line: dict[str, Any] = {"fusion": row.fusion, "inputs": row.inputs, "variant": row.variant}
    line |= {f"{name}_{part}": value for name, both in row.metrics.items() for part, value in both.items()}
    line |= {f"{name}_difference": value for name, value in row.difference.items()}
    for prefix, found in (("", row.intervals), ("difference_", row.difference_intervals)):
        line |= {f"{name}_{prefix}{end}": ends[end] for name, ends in found.items() for end in ("low", "high")}
    line |= {f"f1_change_{label}": value for label, value in row.f1_change.items()}
    line |= {f"change_{name}": value for name, value in row.change.items()}
    line |= {name: value for name, value in row.tests.items() if name != "corrected_t"}
    return line | {f"corrected_t_{name}": p for name, p in row.tests.get("corrected_t", {}).items()}
