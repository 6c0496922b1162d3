"""Two stored runs compared on the posts that both of them tested, paired by id."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.split import Content, Fold
from .comparison import Comparison, compare
from .stored_results import StoredFold, StoredResults


@dataclass(frozen=True)
class PairedRuns:
    """One run minus another on `posts` common test posts; no comparison where there are none.

    `reason` tells what differs between the runs, and which tests that leaves; it is empty where they have the same
    posts and folds.
    """

    comparison: Comparison | None
    posts: int
    reason: str


def compare_runs(run: StoredResults, other: StoredResults) -> PairedRuns:
    """Compare the stored predictions of two runs.

    Posts are common where both runs tested that id, with the same label and the same content. McNemar's test needs
    no more; the corrected t-test also needs the same posts in the same folds.
    """
    repeats = range(min(len(run.predictions), len(other.predictions)))
    shared = frozenset.intersection(*(frozenset(one.predictions[n]) for n in repeats for one in (run, other)))
    changed = {name for name in shared if _changed(run, other, name)}
    common = shared - changed
    whole = len(common) == run.rows == other.rows
    if not common:
        return PairedRuns(None, 0, f"{_different(run, other, len(common), len(changed))}, so no test")
    alike = whole and run.folds == other.folds
    folds = run.folds if alike else [StoredFold(n, frozenset(), common) for n in repeats]
    reason = "their folds differ" if whole else _different(run, other, len(common), len(changed))
    return PairedRuns(_compare(run, other, folds), len(common), "" if alike else f"{reason}, so no t-test")


def _different(run: StoredResults, other: StoredResults, common: int, changed: int) -> str:
    relabelled = f", {changed} more have another label or content" if changed else ""
    return f"{common} posts are common to the {run.rows} and {other.rows} tested{relabelled}"


def _changed(run: StoredResults, other: StoredResults, name: str) -> bool:
    unknown: Content = (None, None)
    mine, theirs = (one.contents.get(name, unknown) for one in (run, other))
    same_content = mine == theirs or unknown in (mine, theirs)
    return not same_content or run.predictions[0][name][0] != other.predictions[0][name][0]


def _compare(run: StoredResults, other: StoredResults, folds: list[StoredFold]) -> Comparison:
    """`compare` on the test rows of these folds."""
    ids = sorted(frozenset().union(*(fold.test | fold.rest for fold in folds)))
    row_of = {name: row for row, name in enumerate(ids)}
    classes = list(dict.fromkeys([*other.support, *run.support]))
    index = {label: number for number, label in enumerate(classes)}
    truth = {name: label for repeat in run.predictions for name, (label, _) in repeat.items()}
    labels = np.array([index[truth[name]] if name in truth else -1 for name in ids], np.int64)

    def rows(names: frozenset[str]) -> NDArray[np.int64]:
        return np.array(sorted(row_of[name] for name in names), np.int64)

    def predicted(one: StoredResults) -> list[NDArray[np.int64]]:
        return [
            np.array([index[one.predictions[fold.repeat][ids[row]][1]] for row in rows(fold.test)], np.int64)
            for fold in folds
        ]

    parts = [Fold(rows(fold.rest), rows(frozenset()), rows(fold.test), fold.repeat) for fold in folds]
    return compare(labels, parts, predicted(run), predicted(other), classes)
