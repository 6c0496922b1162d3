"""Evaluation of a head's test predictions: intervals, calibration, and paired tests against baselines."""

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
from ..metrics.scores import METRICS, ClassScore, Summary, confusion, per_class, score, summarise
from ..metrics.statistics import (
    INTERVAL_METRICS,
    Bin,
    Interval,
    bootstrap,
    calibration_error,
    corrected_t,
    fit_temperature,
    mcnemar,
    negative_log_likelihood,
    over_repeats,
    reliability,
)
from ..metrics.tables import Cells, class_cells, interval_text, metric_cells, metric_title
from .baselines import SINGLES, Labels, Logits

SUPERVISED = "supervised"  # the same head without unlabelled posts


@dataclass(frozen=True)
class Comparison:
    """A head minus another system on the same folds, with the two-sided p of both tests.

    `mcnemar` is the mid-p; of several repeats, twice the median p. `corrected_t` is None for a single fold.
    """

    difference: dict[str, float]
    corrected_t: dict[str, float | None]
    mcnemar: float
    mcnemar_exact: float
    only_head: float  # rows that only the head predicts correctly, per repeat
    only_other: float


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error and mean negative log-likelihood, before and after dividing logits by a temperature.

    Each fold has its own, fitted on its validation rows.
    """

    before: float
    after: float
    nll_before: float
    nll_after: float
    temperatures: list[float]
    bins_before: list[Bin]
    bins_after: list[Bin]


@dataclass(frozen=True)
class Evaluation:
    """The test predictions of a system over all folds of all repeats; without baselines there are no `tests`.

    `metrics` and those of the `baselines` are means and deviations over the folds, `per_fold` those of each fold.
    `one_class` has the class of each fold whose head predicts that class for every test row.
    """

    fusion: str
    metrics: Summary
    baselines: dict[str, Summary]
    per_fold: list[dict[str, float]]
    intervals: dict[str, Interval]
    calibration: Calibration
    tests: dict[str, Comparison]  # by baseline
    best_single: str | None
    per_class: list[ClassScore]
    confusion: list[list[int]]
    one_class: list[str]
    rows: int
    folds: int
    repeats: int

    def to_text(self) -> str:
        """The metrics, the intervals, the calibration error, then the table of tests."""
        measured = self.calibration
        pieces = [
            text_table(*class_cells(self.per_class)),
            text_table(*metric_cells({self.fusion: self.metrics} | self.baselines)),
            f"{interval_text(self.intervals)}\ncalibration error {measured.before:.3f}; {measured.after:.3f} "
            f"at temperature {np.mean(measured.temperatures):.2f}",
        ]
        pieces += [text_table(*self.test_cells())] * bool(self.tests) + [self.one_class_text] * bool(self.one_class)
        return "\n\n".join(pieces)

    @property
    def one_class_text(self) -> str:
        """Which class heads predict for every post, in how many of the folds, and the share of posts that have it."""
        support = {entry["label"]: entry["support"] / self.rows for entry in self.per_class}
        names = " or ".join(f"{name!r} ({support[name]:.0%} of the posts)" for name in dict.fromkeys(self.one_class))
        where = f" in {len(self.one_class)} of {self.folds} folds" if self.folds > 1 else ""
        remedy = "train longer (--epochs, --lr), or weight rare classes (--balance weights)"
        return f"{self.fusion} predicts one class for every post{where}: {names}; {remedy}"

    def test_cells(self) -> Cells:
        """The tests against the supervised head, the linear probe and the best single modality, where there are any."""
        names = [name for name in (SUPERVISED, "linear", self.best_single) if name and name in self.tests]
        return ["head minus", *map(metric_title, INTERVAL_METRICS), "McNemar p", "corrected t p"], [
            [
                name,
                *(f"{one.difference[metric]:+.3f}" for metric in INTERVAL_METRICS),
                p_text(one.mcnemar),
                p_text(one.corrected_t["accuracy"]),
            ]
            for name, one in ((name, self.tests[name]) for name in names)
        ]


def p_text(value: float | None) -> str:
    """A p value for a table; a dash where there is none."""
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def evaluate_folds(
    table: CachedFeatures,
    folds: Sequence[Fold],
    logits: Sequence[Logits],
    validation: Sequence[tuple[Labels, Logits]],
    *,
    fusion: str,
    baselines: Mapping[str, Sequence[Labels]] | None = None,
    temperatures: Sequence[float] = (),
) -> Evaluation:
    """Evaluate the logits (n, K) that `fusion` has for each fold's test rows.

    `validation` holds rows that no gradient has seen and their logits, to fit the temperatures that are not given;
    `baselines` predictions (n,) of other systems on the same test rows.
    """
    labels, classes, baselines = table.targets(), table.classes, baselines or {}
    predictions = [one.argmax(1) for one in logits]
    per_fold = score_folds(labels, folds, predictions, classes)
    others = {name: summarise(score_folds(labels, folds, other, classes)) for name, other in baselines.items()}
    rows = by_repeat(folds, [fold.test for fold in folds])[0]
    truth = labels[rows]
    repeats = by_repeat(folds, predictions)  # (R, n)
    pairs = np.tile(truth, len(repeats)), repeats.ravel()
    by_class = per_class(*pairs, classes)
    for entry in by_class:
        entry["support"] //= len(repeats)
    singles = [name for name in SINGLES if name in others]
    return Evaluation(
        fusion=fusion,
        metrics=summarise(per_fold),
        baselines=others,
        per_fold=per_fold,
        intervals=bootstrap(table.posts.groups[rows], truth, repeats, classes=len(classes)),
        calibration=calibrate(labels, folds, logits, validation, temperatures),
        tests={name: compare(labels, folds, predictions, other, classes) for name, other in baselines.items()},
        best_single=max(singles, key=lambda name: others[name]["accuracy"]["mean"], default=None),
        per_class=by_class,
        confusion=confusion(*pairs, classes).tolist(),
        one_class=[classes[one[0]] for one in predictions if len(one) > 1 and (one == one[0]).all()],
        rows=len(rows),
        folds=len(folds),
        repeats=len(repeats),
    )


def score_folds(
    labels: Labels, folds: Sequence[Fold], predictions: Sequence[Labels], classes: Sequence[str]
) -> list[dict[str, float]]:
    """Every metric of each fold's predictions (n,) of its test rows; `labels` (N,) are those of all rows."""
    return [score(labels[fold.test], one, classes) for fold, one in zip(folds, predictions, strict=True)]


def by_repeat(folds: Sequence[Fold], values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Values (n_f, …) of each fold's test rows as one array (R, n, …), the rows of each repeat in ascending order."""
    repeats = []
    for number in sorted({fold.repeat for fold in folds}):
        parts = [(fold.test, value) for fold, value in zip(folds, values, strict=True) if fold.repeat == number]
        order = np.argsort(np.concatenate([rows for rows, _ in parts]))
        repeats.append(np.concatenate([value for _, value in parts])[order])
    return np.stack(repeats)


def calibrate(
    labels: Labels,
    folds: Sequence[Fold],
    logits: Sequence[Logits],
    validation: Sequence[tuple[Labels, Logits]],
    temperatures: Sequence[float] = (),
) -> Calibration:
    """Calibration of all folds' test rows together; `validation` holds rows and logits of each fold."""
    divisors = list(temperatures) or [fit_temperature(fitted, labels[rows]) for rows, fitted in validation]
    truth = np.concatenate([labels[fold.test] for fold in folds])
    scaled = [one / np.float32(divisor) for one, divisor in zip(logits, divisors, strict=True)]
    before, after = softmax(np.concatenate(list(logits))), softmax(np.concatenate(scaled))
    bins_before, bins_after = reliability(before, truth), reliability(after, truth)
    return Calibration(
        calibration_error(bins_before),
        calibration_error(bins_after),
        negative_log_likelihood(before, truth),
        negative_log_likelihood(after, truth),
        divisors,
        bins_before,
        bins_after,
    )


def compare(
    labels: Labels,
    folds: Sequence[Fold],
    head: Sequence[Labels],
    other: Sequence[Labels],
    classes: Sequence[str],
    *,
    seeds: int = 1,
) -> Comparison:
    """Test one system against another on both systems' predictions of each fold's test rows.

    With several `seeds`, `folds` holds the folds of the first seed, then those of the next. McNemar's test takes seeds
    as repeats; the t-test compares folds by their mean over the seeds, since seeds of one fold share all their rows.
    """
    scores = [score_folds(labels, folds, system, classes) for system in (head, other)]
    pairs = list(zip(*scores, strict=True))
    gaps = {name: np.reshape([a[name] - b[name] for a, b in pairs], (seeds, -1)).mean(0) for name in METRICS}
    train_rows = float(np.mean([len(fold.train) + len(fold.valid) for fold in folds]))
    test_rows = float(np.mean([len(fold.test) for fold in folds]))
    truth = labels[by_repeat(folds, [fold.test for fold in folds])]
    paired = [mcnemar(*rows) for rows in zip(truth, by_repeat(folds, head), by_repeat(folds, other), strict=True)]
    return Comparison(
        {name: float(np.mean(gap)) for name, gap in gaps.items()},
        {name: corrected_t(list(gap), train_rows=train_rows, test_rows=test_rows) for name, gap in gaps.items()},
        over_repeats([one.mid for one in paired]),
        over_repeats([one.exact for one in paired]),
        float(np.mean([one.only_first for one in paired])),
        float(np.mean([one.only_second for one in paired])),
    )
