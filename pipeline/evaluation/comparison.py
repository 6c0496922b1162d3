"""What a head's test rows amount to: intervals, calibration, and paired tests against what it has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...features.text_table import table as text_table
from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from ..metrics.probabilities import softmax
from ..metrics.scores import confusion, per_class, score
from ..metrics.statistics import (
    RESAMPLED,
    Bin,
    Interval,
    bootstrap,
    calibration_error,
    corrected_t,
    fit_temperature,
    mcnemar,
    over_repeats,
    reliability,
)
from .baselines import SINGLES

SUPERVISED = "supervised"  # the same head without unlabelled posts

Labels = NDArray[np.int64]
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Comparison:
    """The head minus another system on the same folds, and two-sided p of both tests.

    `mcnemar` is the mid-p; of several repeats it is twice the median p. `corrected_t` is None for a single fold.
    """

    difference: dict[str, float]
    corrected_t: dict[str, float | None]
    mcnemar: float
    mcnemar_exact: float
    only_head: float  # rows that the head alone gets right, per repeat
    only_other: float


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error before and after temperature scaling, fitted on each fold's validation rows."""

    before: float
    after: float
    temperatures: list[float]
    bins_before: list[Bin]
    bins_after: list[Bin]


@dataclass(frozen=True)
class Evaluation:
    """All that is said of a run beside its mean and deviation. `comparisons` are by system; none without baselines."""

    intervals: dict[str, Interval]
    calibration: Calibration
    comparisons: dict[str, Comparison]
    best_single: str | None
    classes: list[dict[str, Any]]
    confusion: list[list[int]]
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """The part of a run's JSON that is about its worth."""
        measured = self.calibration
        return {
            "per_class": self.classes,
            "intervals": {name: one._asdict() for name, one in self.intervals.items()},
            "tests": {name: vars(one) for name, one in self.comparisons.items()},
            "best_single": self.best_single,
            "calibration": vars(measured)
            | {
                name: [one._asdict() for one in bins]
                for name, bins in (("bins_before", measured.bins_before), ("bins_after", measured.bins_after))
            },
            "rows": self.rows,
        }

    def to_text(self) -> str:
        """A few lines: the intervals, calibration, then the tests."""
        ends = ", ".join(
            f"{name.replace('_', ' ')} {one.low:.3f} to {one.high:.3f}" for name, one in self.intervals.items()
        )
        heat = float(np.mean(self.calibration.temperatures))
        lines = [
            f"95 % interval: {ends}",
            f"calibration error {self.calibration.before:.3f}; {self.calibration.after:.3f} at temperature {heat:.2f}",
        ]
        return "\n".join(lines) + (f"\n\n{text_table(*self.test_table())}" if self.comparisons else "")

    def test_table(self) -> tuple[list[str], list[list[str]]]:
        """Header and lines of the tests against the linear probe, the best single modality and what else there is."""
        shown = [name for name in (SUPERVISED, "linear", self.best_single) if name in self.comparisons]
        found = [(name, self.comparisons[name]) for name in shown if name is not None]
        return ["head minus", "accuracy", "macro f1", "McNemar p", "corrected t p"], [
            [
                name,
                *(f"{one.difference[metric]:+.3f}" for metric in RESAMPLED),
                p_text(one.mcnemar),
                p_text(one.corrected_t["accuracy"]),
            ]
            for name, one in found
        ]


def p_text(value: float | None) -> str:
    """A p value for a table; a dash where there is none."""
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def judge(
    table: CachedFeatures,
    folds: Sequence[Fold],
    logits: Sequence[Logits],
    stops: Sequence[tuple[Labels, Logits]],
    *,
    others: Mapping[str, Sequence[Labels]] | None = None,
) -> Evaluation:
    """Judge logits (n, K) of each fold's test rows.

    `stops` are rows that no gradient has seen and their logits, for the temperature; `others` what other systems say
    of the same test rows.
    """
    labels, classes, others = table.targets(), table.classes, others or {}
    guesses = [one.argmax(1) for one in logits]
    rows = by_repeat(folds, [fold.test for fold in folds])[0]
    truth = labels[rows]
    said = by_repeat(folds, guesses)  # (R, n)
    means = {
        name: float(np.mean([score(labels[f.test], g, classes)["accuracy"] for f, g in zip(folds, guess, strict=True)]))
        for name, guess in others.items()
        if name in SINGLES
    }
    counts = confusion(np.tile(truth, len(said)), said.ravel(), classes)
    entries = [
        {**entry, "support": entry["support"] // len(said)}
        for entry in per_class(np.tile(truth, len(said)), said.ravel(), classes)
    ]
    return Evaluation(
        intervals=bootstrap(table.posts.groups[rows], truth, said, classes=len(classes)),
        calibration=calibrate(labels, folds, logits, [(labels[r], stop) for r, stop in stops]),
        comparisons={name: compare(labels, folds, guesses, guess, classes) for name, guess in others.items()},
        best_single=max(means, key=lambda name: means[name]) if means else None,
        classes=entries,
        confusion=counts.tolist(),
        rows=len(rows),
    )


def by_repeat(folds: Sequence[Fold], values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Values (n_f, …) of each fold's test rows as one array (R, n, …), the rows of each repeat in ascending order."""
    repeats = []
    for number in sorted({fold.repeat for fold in folds}):
        mine = [(fold.test, value) for fold, value in zip(folds, values, strict=True) if fold.repeat == number]
        order = np.argsort(np.concatenate([rows for rows, _ in mine]))
        repeats.append(np.concatenate([value for _, value in mine])[order])
    return np.stack(repeats)


def calibrate(
    labels: Labels, folds: Sequence[Fold], logits: Sequence[Logits], stops: Sequence[tuple[Labels, Logits]]
) -> Calibration:
    """Calibration of all folds' test rows together; `stops` are labels and logits of each fold's validation rows."""
    temperatures = [fit_temperature(said, truth) for truth, said in stops]
    truth = np.concatenate([labels[fold.test] for fold in folds])
    before = reliability(softmax(np.concatenate(list(logits))), truth)
    cooled = [one / np.float32(heat) for one, heat in zip(logits, temperatures, strict=True)]
    after = reliability(softmax(np.concatenate(cooled)), truth)
    return Calibration(calibration_error(before), calibration_error(after), temperatures, before, after)


def compare(
    labels: Labels,
    folds: Sequence[Fold],
    head: Sequence[Labels],
    other: Sequence[Labels],
    classes: Sequence[str],
) -> Comparison:
    """Test one system against another on what both say of each fold's test rows."""
    scores = [
        [score(labels[fold.test], guess, classes) for fold, guess in zip(folds, system, strict=True)]
        for system in (head, other)
    ]
    gaps = {name: [a[name] - b[name] for a, b in zip(*scores, strict=True)] for name in RESAMPLED}
    trained = float(np.mean([len(fold.train) + len(fold.valid) for fold in folds]))
    scored = float(np.mean([len(fold.test) for fold in folds]))
    truth = labels[by_repeat(folds, [fold.test for fold in folds])]
    paired = [mcnemar(*rows) for rows in zip(truth, by_repeat(folds, head), by_repeat(folds, other), strict=True)]
    return Comparison(
        {name: float(np.mean(gap)) for name, gap in gaps.items()},
        {name: corrected_t(gap, trained=trained, scored=scored).p for name, gap in gaps.items()},
        over_repeats([one.mid for one in paired]),
        over_repeats([one.exact for one in paired]),
        float(np.mean([one.only_first for one in paired])),
        float(np.mean([one.only_second for one in paired])),
    )
