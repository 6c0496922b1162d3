"""Evaluation of a head's test predictions: intervals, calibration, and paired tests against baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...features.progress import stage
from ..metrics.probabilities import softmax
from ..metrics.scores import METRICS, confusion, per_class, score, summarise
from ..metrics.statistics import (
    bootstrap,
    calibration_error,
    corrected_t,
    fit_temperature,
    mcnemar,
    negative_log_likelihood,
    over_repeats,
    reliability,
)
from ..runs.results import SINGLES, Calibration, Comparison, Evaluation

if TYPE_CHECKING:  # a table of stored runs is compared without torch
    from ..data.cached_features import CachedFeatures
    from ..data.split import Fold
    from .baselines import Labels, Logits


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
    stage("bootstrap intervals and tests")
    labels, classes, baselines = table.targets(), table.classes, baselines or {}
    predictions = [one.argmax(1) for one in logits]
    per_fold = score_folds(labels, folds, predictions, classes, ordered=table.ordered)
    others = {
        name: summarise(score_folds(labels, folds, other, classes, ordered=table.ordered))
        for name, other in baselines.items()
    }
    rows = by_repeat(folds, [fold.test for fold in folds])[0]
    truth = labels[rows]
    repeats = by_repeat(folds, predictions)  # (R, n)
    groups, count = table.posts.groups[rows], len(classes)
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
        intervals=bootstrap(groups, truth, repeats, classes=count),
        calibration=calibrate(labels, folds, logits, validation, temperatures),
        tests={
            name: compare(labels, folds, predictions, other, classes, groups=groups)
            for name, other in baselines.items()
        },
        best_single=max(singles, key=lambda name: others[name]["accuracy"]["mean"], default=None),
        per_class=by_class,
        confusion=confusion(*pairs, classes).tolist(),
        one_class=[classes[one[0]] for one in predictions if len(one) > 1 and (one == one[0]).all()],
        rows=len(rows),
        folds=len(folds),
        repeats=len(repeats),
        baseline_intervals={
            name: bootstrap(groups, truth, by_repeat(folds, other), classes=count) for name, other in baselines.items()
        },
    )


def score_folds(
    labels: Labels,
    folds: Sequence[Fold],
    predictions: Sequence[Labels],
    classes: Sequence[str],
    *,
    ordered: bool = False,
) -> list[dict[str, float]]:
    """Every metric of each fold's predictions (n,) of its test rows; `labels` (N,) are those of all rows."""
    return [
        score(labels[fold.test], one, classes, ordered=ordered) for fold, one in zip(folds, predictions, strict=True)
    ]


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
    groups: Labels | None = None,
) -> Comparison:
    """Test one system against another on both systems' predictions of each fold's test rows.

    `groups` (n,) are the duplicate groups of a repeat's test rows in ascending order, to resample for intervals of the
    difference. With several `seeds`, `folds` holds the folds of the first seed, then those of the next. McNemar's test
    takes seeds as repeats; the t-test compares folds by their mean over the seeds, since seeds of one fold share all
    their rows.
    """
    scores = [score_folds(labels, folds, system, classes) for system in (head, other)]
    pairs = list(zip(*scores, strict=True))
    gaps = {name: np.reshape([a[name] - b[name] for a, b in pairs], (seeds, -1)).mean(0) for name in METRICS}
    train_rows = float(np.mean([len(fold.train) + len(fold.valid) for fold in folds]))
    test_rows = float(np.mean([len(fold.test) for fold in folds]))
    truth = labels[by_repeat(folds, [fold.test for fold in folds])]
    ours, theirs = by_repeat(folds, head), by_repeat(folds, other)  # (R, n) each
    paired = [mcnemar(*rows) for rows in zip(truth, ours, theirs, strict=True)]
    return Comparison(
        {name: float(np.mean(gap)) for name, gap in gaps.items()},
        {name: corrected_t(list(gap), train_rows=train_rows, test_rows=test_rows) for name, gap in gaps.items()},
        over_repeats([one.mid for one in paired]),
        over_repeats([one.exact for one in paired]),
        float(np.mean([one.only_first for one in paired])),
        float(np.mean([one.only_second for one in paired])),
        {} if groups is None else bootstrap(groups, truth[0], ours, classes=len(classes), minus=theirs),
    )
