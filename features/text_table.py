"""What the commands print: plain text tables, and reports that are a table or a JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def table(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """Align columns: the first to the left, the others to the right. A row is one line, whatever its cells hold."""
    rows = [[str(cell).replace("\n", "\\n") for cell in line] for line in (header, *lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    )


@dataclass(frozen=True)
class TableReport:
    """Entries as `--json` shows them, and as the lines of a table with notes below; facts go to `--json` alone."""

    entries: Sequence[dict[str, Any]]
    header: Sequence[str]
    lines: Sequence[Sequence[object]]
    notes: Sequence[str] = ()
    name: str = "encoders"  # of the entries
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {**self.facts, self.name: list(self.entries)}

    def to_text(self) -> str:
        return "\n".join([*([table(self.header, self.lines)] if self.lines else []), *self.notes])
