"""The rows of a table of runs: stored runs and their baselines, each with its test against a named run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ..metrics.scores import Summary
from ..metrics.statistics import Interval
from ..metrics.tables import scored_text
from ..runs.folders import find_run, find_runs
from ..runs.results import Comparison, Evaluation
from ..runs.stored_run import StoredRun, read_run
from .paired_runs import PairedRuns, compare_runs

SHOWN = 4  # names in a note
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class TableRow:
    """A run, or a baseline of runs, with the (first) run; `paired` is this row minus the named run."""

    name: str
    run: StoredRun
    metrics: Summary
    intervals: dict[str, Interval]
    paired: PairedRuns | None = None

    @property
    def scores(self) -> Evaluation:
        """The evaluation of the run."""
        assert self.run.evaluation, "only trained heads are rows"
        return self.run.evaluation

    @property
    def scored(self) -> str:
        """How many posts were scored, in how many folds and repeats."""
        return scored_text(self.scores.rows, self.scores.folds, self.scores.repeats)

    @property
    def test(self) -> Comparison | None:
        """The paired test against the run of reference, if there can be one."""
        return self.paired.comparison if self.paired else None

    @property
    def reason(self) -> str:
        """Why there is no paired test; empty where there is one."""
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
        run = read_run(folder)
        assert run.evaluation, "a folder of `find_runs` holds trained heads"
        rows.append(TableRow(name, run, run.evaluation.metrics, run.evaluation.intervals))
    other = rows[list(folders).index(reference.resolve())] if reference else None
    if other is None:
        return rows, None
    paired = (row if row is other else replace(row, paired=compare_runs(row.run, other.run)) for row in rows)
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

    It is tested as its first owner that stored its predictions; runs of earlier versions did not.
    """
    owned = ((name, one, row) for row in runs for name, one in row.scores.baselines.items())
    variants = grouped(((name, row.run.tested, repr(one)), row) for name, one, row in owned)
    counts = Counter(name for name, *_ in variants)
    rows = []
    for (name, *_), owners in sorted(variants.items(), key=lambda item: list(counts).index(item[0][0])):
        owner = next((row for row in owners if name in row.run.baselines), owners[0])
        known = other is not None and name in owner.run.baselines
        paired = compare_runs(owner.run, other.run, baseline=name) if known and other else None
        shown = f"{name} ({listed([row.name for row in owners])})" if counts[name] > 1 else name
        intervals = owner.scores.baseline_intervals.get(name, {})
        rows.append(TableRow(shown, owner.run, owner.scores.baselines[name], intervals, paired))
    return rows


def grouped(pairs: Iterable[tuple[Key, Value]]) -> dict[Key, list[Value]]:
    """The values of each key, in the order of their first appearance."""
    groups: dict[Key, list[Value]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
