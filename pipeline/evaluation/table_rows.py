"""The rows of a table of runs: stored runs and their baselines, each with its test against a named run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ..metrics.scores import Summary
from ..metrics.statistics import Interval
from ..runs.runs import find_run, find_runs
from .comparison import Comparison
from .paired_runs import PairedRuns, compare_runs
from .stored_results import StoredResults, read_results

SHOWN = 4  # names in a note
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class TableRow:
    """A run, or a baseline of runs, with the results of the (first) run; `paired` is this row minus the named run."""

    name: str
    results: StoredResults
    metrics: Summary
    intervals: dict[str, Interval]
    paired: PairedRuns | None = None

    @property
    def test(self) -> Comparison | None:
        return self.paired.comparison if self.paired else None

    @property
    def reason(self) -> str:
        return self.paired.reason if self.paired else ""


def run_rows(paths: Sequence[Path], against: Path | None) -> tuple[list[TableRow], TableRow | None]:
    """A row for each run folder, and each run of a folder of runs; the row that the others are tested against, if any.

    `against` is the path of a run, or the name of a row; its row is added where `paths` lack it. Raises ValueError
    where there is no run, or a damaged one.
    """
    folders = {run.resolve(): run for path in paths for run in find_runs(path)}
    reference = _reference(against, list(folders.values())) if against else None
    if reference and reference.resolve() not in folders:
        folders = {reference.resolve(): reference, **folders}
    rows = []
    for name, folder in zip(_names(folders), folders.values(), strict=True):
        one = read_results(folder)
        rows.append(TableRow(name, one, one.metrics, one.intervals))
    other = rows[list(folders).index(reference.resolve())] if reference else None
    if other is None:
        return rows, None
    paired = (row if row is other else replace(row, paired=compare_runs(row.results, other.results)) for row in rows)
    return list(paired), other


def _reference(against: Path, folders: Sequence[Path]) -> Path:
    if against.exists():
        return find_run(against)
    names = _names(folders)
    if str(against) not in names:
        raise ValueError(f"--against {against}: neither a run folder nor a row; the rows are {', '.join(names)}")
    return folders[names.index(str(against))]


def _names(folders: Iterable[Path]) -> list[str]:
    """The names of the folders, with as many of those above as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    levels = (["/".join(one[-depth:]) for one in parts] for depth in range(1, max(map(len, parts)) + 1))
    return next(names for names in levels if len(set(names)) == len(names))


def baseline_rows(runs: Sequence[TableRow], other: TableRow | None) -> list[TableRow]:
    """A row for each baseline: one for all runs that have it with the same metrics on the same posts.

    Predictions of baselines are not stored, so that only the tests of the named run against its own are known.
    """
    owned = ((name, one, row) for row in runs for name, one in row.results.baselines.items())
    variants = grouped(((name, row.results.tested, repr(one)), row) for name, one, row in owned)
    counts = Counter(name for name, *_ in variants)
    rows = []
    for (name, *_), owners in sorted(variants.items(), key=lambda item: list(counts).index(item[0][0])):
        first = owners[0].results
        found = other.results.tests.get(name) if other and any(row is other for row in owners) else None
        paired = PairedRuns(_reversed(found), first.rows, "") if found else None
        shown = f"{name} ({listed([row.name for row in owners])})" if counts[name] > 1 else name
        rows.append(TableRow(shown, first, first.baselines[name], {}, paired))
    return rows


def _reversed(found: Comparison) -> Comparison:
    difference = {name: -value for name, value in found.difference.items()}
    return replace(found, difference=difference, only_head=found.only_other, only_other=found.only_head)


def grouped(pairs: Iterable[tuple[Key, Value]]) -> dict[Key, list[Value]]:
    """The values of each key, in the order of their first appearance."""
    groups: dict[Key, list[Value]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
