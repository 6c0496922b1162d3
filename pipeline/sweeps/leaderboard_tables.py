"""The trials of a sweep as they are printed: the best ones, and a grid of two settings as a table of two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from ...features.text_table import Table
from .study import TrialRow

SHOWN = 10  # trials


def best_trials(rows: Sequence[TrialRow], metric: str) -> Table:
    """The best trials with their values on the inner folds, their costs, and the settings in which trials differ."""
    names = varied(rows)
    lines = [
        [
            row.index,
            "failed" if row.value is None else f"{row.value:.3f}",
            f"{row.epochs} pruned" if row.state == "pruned" else row.epochs or "",
            rounded(row.notes.get("extract_seconds"), 1),
            rounded(row.notes.get("seconds"), 2),
            " ".join(f"{name}={short(row.point[name])}" for name in names if name in row.point),
        ]
        for row in sorted(rows, key=attrgetter("order"))[:SHOWN]
    ]
    header = ["trial", metric, "epochs", "extract s", "head s", "settings"]
    shown = f"Best {len(lines)} of {len(rows)} trials" if len(rows) > len(lines) else "Trials"
    return Table(header, lines, f"{shown}, inner scores: of the folds that ranked them", [0])


def pivot(rows: Sequence[TrialRow], title: str) -> Table | None:
    """The values of a whole grid of two settings, the first one down; None for any other sweep."""
    names = varied(rows)
    if len(names) != 2 or not all(name in row.point for row in rows for name in names):
        return None
    down, across = ([*dict.fromkeys(row.point[name] for row in rows)] for name in names)
    cells = {(row.point[names[0]], row.point[names[1]]): row for row in rows}
    if not len(cells) == len(rows) == len(down) * len(across):
        return None
    lines = [[short(one), *(_cell(cells[one, other]) for other in across)] for one in down]
    best = min(rows, key=attrgetter("order"))
    place = down.index(best.point[names[0]]), 1 + across.index(best.point[names[1]])
    pruned = "; after fewer epochs, where in parentheses" if any(row.state == "pruned" for row in rows) else ""
    header = [f"{names[0]} \\ {names[1]}", *map(short, across)]
    return Table(header, lines, f"{title}, {names[0]} × {names[1]}{pruned}", [place])


def varied(rows: Sequence[TrialRow]) -> list[str]:
    """The settings in which trials differ, in their order."""
    values: dict[str, set[Any]] = {}
    for row in rows:
        for name, value in row.point.items():
            values.setdefault(name, set()).add(value)
    return [name for name, found in values.items() if len(found) > 1]


def rounded(value: float | None, digits: int) -> str:
    """A number with so many digits; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def short(value: Any) -> str:
    """A setting's value in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cell(row: TrialRow) -> str:
    if row.value is None:
        return " failed"
    return f"({row.value:.3f})" if row.state == "pruned" else f" {row.value:.3f} "
