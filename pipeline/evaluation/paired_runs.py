"""Two stored runs compared on the posts that both of them tested, paired by id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...features.posts.content import duplicate_groups
from ..data.split import Content, Fold
from ..runs.results import Comparison
from ..runs.stored_run import StoredFold, StoredRun, StoredSplit
from .comparison import compare

Labels = dict[str, tuple[str, str]]  # true and predicted label by id


@dataclass(frozen=True)
class PairedRuns:
    """One run minus another on `posts` common test posts; no comparison where there are none.

    `reason` tells what differs between the runs, and which tests that leaves; it is empty where they have the same
    posts and folds.
    """

    comparison: Comparison | None
    posts: int
    reason: str


class Tested(NamedTuple):
    """The labels of a run, or of a baseline of it, repeat after repeat; its split, its classes, the number of posts."""

    labels: list[Labels]
    split: StoredSplit
    classes: tuple[str, ...]
    rows: int


def compare_runs(run: StoredRun, other: StoredRun, *, baseline: str = "") -> PairedRuns:
    """Compare the stored predictions of two runs, or those of a baseline of the first with the other's.

    Posts are common where both runs tested that id, with the same label and the same content. McNemar's test needs
    no more; the corrected t-test also needs the same posts in the same folds. The interval of the difference resamples
    groups of posts that are duplicates in either run. Raises ValueError where predictions are not those of the split.
    """
    return _compare_tested(read_tested(run, baseline), read_tested(other))


def read_tested(run: StoredRun, baseline: str = "") -> Tested:
    """What a run tested. Raises ValueError where the rows of its predictions are not the test rows of its split."""
    split, found, scores = run.split, run.predictions, run.evaluation
    if not split or not found or not scores:
        raise ValueError(f"{run.path} holds no trained heads, which alone are compared; `msa train-head` writes some")
    predicted = run.baselines[baseline] if baseline else found.predicted
    labels: list[Labels] = [{} for _ in range(max(fold.repeat for fold in split.folds) + 1)]
    for (name, repeat), true, best in zip(found.posts, found.truth, predicted, strict=True):
        if (number := int(repeat)) < len(labels):
            labels[number][name] = found.classes[true], found.classes[best]
    tested = [frozenset[str]().union(*(f.test for f in split.folds if f.repeat == n)) for n in range(len(labels))]
    if [one.keys() for one in labels] != tested or len(found.posts) != sum(map(len, tested)):
        wanted = sum(map(len, tested))
        raise ValueError(
            f"{run.path / 'predictions.csv'}: its {len(found.posts)} rows are not the {wanted} test rows of the run; "
            "train again"
        )
    return Tested(labels, split, found.classes, scores.rows)


def _compare_tested(run: Tested, other: Tested) -> PairedRuns:
    repeats = range(min(len(run.labels), len(other.labels)))
    shared = frozenset.intersection(*(frozenset(one.labels[n]) for n in repeats for one in (run, other)))
    changed = {name for name in shared if _changed(run, other, name)}
    common = shared - changed
    whole = len(common) == run.rows == other.rows
    if not common:
        return PairedRuns(None, 0, f"{_different(run, other, len(common), len(changed))}, so no test")
    alike = whole and run.split.folds == other.split.folds
    folds = run.split.folds if alike else [StoredFold(n, frozenset(), common) for n in repeats]
    reason = "their folds differ" if whole else _different(run, other, len(common), len(changed))
    return PairedRuns(_compare(run, other, folds), len(common), "" if alike else f"{reason}, so no t-test")


def _different(run: Tested, other: Tested, common: int, changed: int) -> str:
    relabelled = f", {changed} more have another label or content" if changed else ""
    return f"{common} posts are common to the {run.rows} and {other.rows} tested{relabelled}"


def _changed(run: Tested, other: Tested, name: str) -> bool:
    unknown: Content = (None, None)
    mine, theirs = (one.split.contents.get(name, unknown) for one in (run, other))
    same_content = mine == theirs or unknown in (mine, theirs)
    return not same_content or run.labels[0][name][0] != other.labels[0][name][0]


def _compare(run: Tested, other: Tested, folds: list[StoredFold]) -> Comparison:
    """`compare` on the test rows of these folds."""
    ids = sorted(frozenset().union(*(fold.test | fold.rest for fold in folds)))
    row_of = {name: row for row, name in enumerate(ids)}
    classes = list(dict.fromkeys([*other.classes, *run.classes]))
    index = {label: number for number, label in enumerate(classes)}
    truth = {name: label for repeat in run.labels for name, (label, _) in repeat.items()}
    labels = np.array([index[truth[name]] if name in truth else -1 for name in ids], np.int64)

    def rows(names: frozenset[str]) -> NDArray[np.int64]:
        return np.array(sorted(row_of[name] for name in names), np.int64)

    def predicted(one: Tested) -> list[NDArray[np.int64]]:
        return [
            np.array([index[one.labels[fold.repeat][ids[row]][1]] for row in rows(fold.test)], np.int64)
            for fold in folds
        ]

    tested = sorted(frozenset().union(*(fold.test for fold in folds if fold.repeat == folds[0].repeat)))
    groups = duplicate_groups(*([str(one.split.groups[name]) for name in tested] for one in (run, other)))
    parts = [Fold(rows(fold.rest), rows(frozenset()), rows(fold.test), fold.repeat) for fold in folds]
    return compare(labels, parts, predicted(run), predicted(other), classes, groups=np.array(groups, np.int64))
