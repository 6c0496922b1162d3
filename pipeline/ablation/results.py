"""One line of an ablation, judged against the full head on the same test rows; and what each modality is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from ..evaluation.baselines import majority
from ..evaluation.comparison import by_repeat, compare
from ..metrics.scores import per_class, score, summarise
from ..metrics.statistics import RESAMPLED, bootstrap, bootstrap_difference, corrected_t

Logits = NDArray[np.float32]
Summary = dict[str, dict[str, float]]


@dataclass(frozen=True)
class AblationRow:
    """What the head saw, or the variant it was trained as, how it scored, and that minus the full head's score.

    `inputs` is both, image or text, `variant` the name of a part's variant or empty. `intervals` and
    `difference_intervals` hold estimate, low and high of 95 % intervals. `f1_change` is by class, `change` how far
    logits and predictions moved; `tests` and `change` are empty in the full head's own row.
    """

    fusion: str
    inputs: str
    variant: str
    metrics: Summary
    difference: dict[str, float]
    intervals: Summary
    difference_intervals: Summary
    tests: dict[str, Any]
    f1_change: dict[str, float]
    change: dict[str, float]

    @property
    def name(self) -> str:
        """What the table calls it."""
        return self.variant or self.inputs


@dataclass(frozen=True)
class Scoring:
    """The rows on which heads are compared: folds of a table, scored once for each of `seeds` seeds, seed by seed."""

    table: CachedFeatures
    folds: Sequence[Fold]
    seeds: int

    @property
    def all_folds(self) -> list[Fold]:
        """The folds of every seed; those of a later seed are repeats of the first one's."""
        repeats = max(fold.repeat for fold in self.folds) + 1
        return [replace(f, repeat=f.repeat + seed * repeats) for seed in range(self.seeds) for f in self.folds]

    def metrics(self, logits: Sequence[Logits]) -> list[dict[str, float]]:
        """Every metric of every fold of every seed."""
        return self._scores([one.argmax(1) for one in logits])

    def majority(self) -> list[dict[str, float]]:
        """The same of the commonest class among the training rows."""
        labels = self.table.targets()
        return self._scores([majority(labels[fold.train], len(fold.test)) for fold in self.all_folds])

    def _scores(self, guesses: Sequence[NDArray[np.int64]]) -> list[dict[str, float]]:
        labels, pairs = self.table.targets(), zip(self.all_folds, guesses, strict=True)
        return [score(labels[fold.test], guess, self.table.classes) for fold, guess in pairs]


def judge_row(
    scoring: Scoring,
    logits: Sequence[Logits],
    full: Sequence[Logits],
    *,
    fusion: str,
    inputs: str = "both",
    variant: str = "",
) -> AblationRow:
    """Judge logits (n, K) of each fold and seed against the full head's of the same rows.

    McNemar's test takes seeds as repeats. The t-test compares folds, each by its mean over the seeds, since seeds of
    one fold share all their rows.
    """
    table, folds, classes = scoring.table, scoring.all_folds, scoring.table.classes
    labels = table.targets()
    guesses, reference = [one.argmax(1) for one in logits], [one.argmax(1) for one in full]
    said, whole = by_repeat(folds, guesses), by_repeat(folds, reference)  # (R, n) each
    rows = by_repeat(folds, [fold.test for fold in folds])[0]
    groups, truth = table.posts.groups[rows], labels[rows]
    scored, scored_full = scoring.metrics(logits), scoring.metrics(full)
    metrics, before = summarise(scored), summarise(scored_full)
    gaps = {
        name: np.reshape([a[name] - b[name] for a, b in zip(scored, scored_full, strict=True)], (scoring.seeds, -1))
        for name in RESAMPLED
    }
    return AblationRow(
        fusion=fusion,
        inputs=inputs,
        variant=variant,
        metrics=metrics,
        difference={name: value["mean"] - before[name]["mean"] for name, value in metrics.items()},
        intervals=_plain(bootstrap(groups, truth, said, classes=len(classes))),
        difference_intervals=_plain(bootstrap_difference(groups, truth, said, whole, classes=len(classes))),
        tests={} if logits is full else _tests(labels, folds, guesses, reference, classes, gaps),
        f1_change={
            name: a - b
            for name, a, b in zip(classes, _f1(truth, said, classes), _f1(truth, whole, classes), strict=True)
        },
        change={} if logits is full else change(logits, full),
    )


def change(logits: Sequence[Logits], full: Sequence[Logits]) -> dict[str, float]:
    """The largest difference between two heads' logits, and the share of rows that they decide differently."""
    one, two = np.concatenate(logits), np.concatenate(full)
    return {
        "logits": float(np.abs(one - two).max()),
        "predictions": float((one.argmax(1) != two.argmax(1)).mean()),
    }


def shapley(nothing: float, image: float, text: float, both: float) -> tuple[float, float]:
    """What image and text are worth: each one's gain, averaged over joining first and second (Shapley, 1953)."""
    return ((image - nothing) + (both - text)) / 2, ((text - nothing) + (both - image)) / 2


def worth(scores: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Summary]:
    """Shapley values of both modalities on RESAMPLED, and the metrics with neither, over folds and seeds."""
    keys: tuple[str, ...] = ("neither", "image", "text", "both")
    found: dict[str, list[dict[str, float]]] = {"image": [], "text": [], "neither": []}
    for nothing, image, text, both in zip(*(scores[key] for key in keys), strict=True):
        pairs = {name: shapley(nothing[name], image[name], text[name], both[name]) for name in RESAMPLED}
        found["image"].append({name: pair[0] for name, pair in pairs.items()})
        found["text"].append({name: pair[1] for name, pair in pairs.items()})
        found["neither"].append({name: nothing[name] for name in RESAMPLED})
    return {name: summarise(values) for name, values in found.items()}


def _tests(
    labels: NDArray[np.int64],
    folds: Sequence[Fold],
    guesses: Sequence[NDArray[np.int64]],
    reference: Sequence[NDArray[np.int64]],
    classes: Sequence[str],
    gaps: Mapping[str, NDArray[np.float64]],
) -> dict[str, Any]:
    found = compare(labels, folds, guesses, reference, classes)
    trained = float(np.mean([len(fold.train) + len(fold.valid) for fold in folds]))
    scored = float(np.mean([len(fold.test) for fold in folds]))
    return {
        "mcnemar": found.mcnemar,
        "mcnemar_exact": found.mcnemar_exact,
        "only_this": found.only_head,
        "only_full": found.only_other,
        "corrected_t": {
            name: corrected_t(list(gap.mean(0)), trained=trained, scored=scored).p for name, gap in gaps.items()
        },
    }


def _f1(truth: NDArray[np.int64], said: NDArray[np.int64], classes: Sequence[str]) -> list[float]:
    entries = per_class(np.tile(truth, len(said)), said.ravel(), classes)
    return [entry["f1"] for entry in entries]


def _plain(intervals: Mapping[str, Any]) -> Summary:
    return {name: one._asdict() for name, one in intervals.items()}
