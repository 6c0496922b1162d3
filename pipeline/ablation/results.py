"""A row of the ablation table, compared with the full head on the same test rows, and Shapley values of modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from ..evaluation.baselines import Labels, Logits, predict_majority
from ..evaluation.comparison import by_repeat, compare, score_folds
from ..metrics.scores import Summary, per_class, summarise
from ..metrics.shapley import shapley_pair
from ..metrics.statistics import INTERVAL_METRICS, bootstrap
from ..runs.results import AblationRow

Value = TypeVar("Value", float, NDArray[np.float64])


@dataclass(frozen=True)
class Scoring:
    """The rows on which heads are compared: the folds of a table, once for each of `seeds` seeds."""

    table: CachedFeatures
    folds: Sequence[Fold]
    seeds: int

    @property
    def all_folds(self) -> list[Fold]:
        """The folds of every seed, seed by seed; those of a later seed count as further repeats."""
        repeats = max(fold.repeat for fold in self.folds) + 1
        return [replace(f, repeat=f.repeat + seed * repeats) for seed in range(self.seeds) for f in self.folds]

    def metrics(self, predictions: Sequence[Labels]) -> list[dict[str, float]]:
        """Every metric of every fold of every seed."""
        return score_folds(self.table.targets(), self.all_folds, predictions, self.table.classes)

    def majority(self) -> list[dict[str, float]]:
        """The same for the most frequent class of the training rows."""
        labels = self.table.targets()
        return self.metrics([predict_majority(labels[fold.train], len(fold.test)) for fold in self.all_folds])


def ablation_row(
    scoring: Scoring,
    logits: Sequence[Logits],
    full: Sequence[Logits],
    *,
    fusion: str,
    inputs: str = "both",
    variant: str = "",
) -> AblationRow:
    """Compare logits (n, K) of each fold and seed with those of the full head on the same rows."""
    table, folds, classes = scoring.table, scoring.all_folds, scoring.table.classes
    labels = table.targets()
    predicted, reference = [one.argmax(1) for one in logits], [one.argmax(1) for one in full]
    ours, theirs = by_repeat(folds, predicted), by_repeat(folds, reference)  # (R, n) each
    rows = by_repeat(folds, [fold.test for fold in folds])[0]
    groups, truth = table.posts.groups[rows], labels[rows]
    metrics, before = summarise(scoring.metrics(predicted)), summarise(scoring.metrics(reference))
    return AblationRow(
        fusion=fusion,
        inputs=inputs,
        variant=variant,
        metrics=metrics,
        difference={name: value["mean"] - before[name]["mean"] for name, value in metrics.items()},
        intervals=bootstrap(groups, truth, ours, classes=len(classes)),
        difference_intervals=bootstrap(groups, truth, ours, minus=theirs, classes=len(classes)),
        tests=None if logits is full else compare(labels, folds, predicted, reference, classes, seeds=scoring.seeds),
        f1_change={
            name: a - b
            for name, a, b in zip(classes, _f1(truth, ours, classes), _f1(truth, theirs, classes), strict=True)
        },
        change={} if logits is full else change(logits, full),
    )


def change(logits: Sequence[Logits], full: Sequence[Logits]) -> dict[str, float]:
    """The largest difference between the logits of two heads, and the share of rows that they predict differently."""
    one, two = np.concatenate(logits), np.concatenate(full)
    return {
        "logits": float(np.abs(one - two).max()),
        "predictions": float((one.argmax(1) != two.argmax(1)).mean()),
    }


def shapley_values(scores: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Summary]:
    """Shapley values of both modalities on INTERVAL_METRICS, and the metrics with neither, over folds and seeds."""
    found: dict[str, list[dict[str, float]]] = {"image": [], "text": [], "neither": []}
    for neither, image, text, both in zip(*(scores[key] for key in ("neither", "image", "text", "both")), strict=True):
        pairs = {name: shapley_pair(neither[name], image[name], text[name], both[name]) for name in INTERVAL_METRICS}
        found["image"].append({name: pair[0] for name, pair in pairs.items()})
        found["text"].append({name: pair[1] for name, pair in pairs.items()})
        found["neither"].append({name: neither[name] for name in INTERVAL_METRICS})
    return {name: summarise(values) for name, values in found.items()}


def _f1(truth: Labels, predicted: Labels, classes: Sequence[str]) -> list[float]:
    return [entry["f1"] for entry in per_class(np.tile(truth, len(predicted)), predicted.ravel(), classes)]
