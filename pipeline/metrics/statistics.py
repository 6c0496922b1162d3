"""Confidence intervals, paired tests and calibration: pure functions of predictions and scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .scores import Floats, accuracy, macro_f1

Ints = NDArray[np.int64]
DRAWS = 2000
LEVEL = 0.95
MIN_GROUPS = 10  # below, an interval is not shown
BINS = 15
BLOCK = 2**24  # weights that a bootstrap holds in memory at once
INTERVAL_METRICS = {"accuracy": accuracy, "macro_f1": macro_f1}


@dataclass(frozen=True)
class Interval:
    """An estimate, the bounds of its confidence interval, and the number of groups that were resampled.

    Bounds from fewer than MIN_GROUPS groups are too narrow, as draws of few groups are much alike.
    """

    estimate: float
    low: float
    high: float
    groups: int = MIN_GROUPS

    @property
    def reliable(self) -> bool:
        """Whether there were enough groups to resample."""
        return self.groups >= MIN_GROUPS


def bootstrap(
    groups: Ints,
    truth: Ints,
    predictions: Ints,
    *,
    classes: int,
    minus: Ints | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals of INTERVAL_METRICS by resampling whole duplicate groups (Field & Welsh, 2007).

    `groups` and `truth` (n,), `predictions` (R, n) of R repeats, whose metrics are averaged in each draw; those of
    `minus` (R, n), another system on the same posts, are subtracted. The interval covers the choice of posts, given
    these trained heads; it leaves out how training varies.
    """
    weights = np.full(len(predictions), 1 / len(predictions))
    if minus is not None:
        predictions, weights = np.concatenate([predictions, minus]), np.concatenate([weights, -weights])
    _, group = np.unique(groups, return_inverse=True)  # (n,) in 0..G-1
    size, cells = int(group.max()) + 1, classes * classes
    cell = group * cells + truth * classes + predictions  # (R, n)
    counts = np.stack([np.bincount(row, minlength=size * cells).reshape(size, cells) for row in cell], 1)
    # Groups with equal counts (R·K·K) are drawn as one: the same distribution from fewer random numbers.
    kinds, copies = np.unique(counts.reshape(size, -1), axis=0, return_counts=True)
    rng, block = np.random.default_rng(seed), max(1, BLOCK // len(kinds))
    drawn = [
        rng.multinomial(size, copies / size, size=min(block, draws - start)) @ kinds.astype(np.float64)
        for start in range(0, draws, block)
    ]
    sampled = np.concatenate(drawn).reshape(draws, -1, classes, classes)
    whole = counts.sum(0).reshape(-1, classes, classes)  # (R, K, K)
    return {
        name: Interval(
            float(metric(whole) @ weights),
            float(np.quantile(metric(sampled) @ weights, (1 - LEVEL) / 2)),
            float(np.quantile(metric(sampled) @ weights, (1 + LEVEL) / 2)),
            size,
        )
        for name, metric in INTERVAL_METRICS.items()
    }


class McNemar(NamedTuple):
    """Rows that only one system predicts correctly, and the two-sided exact binomial p and mid-p."""

    only_first: int
    only_second: int
    exact: float
    mid: float


def mcnemar(truth: Ints, first: Ints, second: Ints) -> McNemar:
    """Compare two systems on the same rows (n,), assumed independent (McNemar, 1947; mid-p: Fagerland, 2013)."""
    from scipy.stats import binom

    one = int(((first == truth) & (second != truth)).sum())
    two = int(((first != truth) & (second == truth)).sum())
    if not one + two:
        return McNemar(0, 0, 1.0, 1.0)
    tail, middle = (float(f(min(one, two), one + two, 0.5)) for f in (binom.cdf, binom.pmf))
    return McNemar(one, two, min(1.0, 2 * tail), min(1.0, 2 * tail - middle))


def over_repeats(values: Sequence[float]) -> float:
    """Combine the p values of a test repeated on the same rows: twice the median, at most 1 (Meinshausen, 2009)."""
    return float(values[0]) if len(values) == 1 else min(1.0, 2 * float(np.median(values)))


def corrected_t(differences: Sequence[float], *, train_rows: float, test_rows: float) -> float | None:
    """Two-sided p of the corrected resampled t-test of a mean difference over folds (Nadeau & Bengio, 2003).

    The variance is multiplied by 1/n + test_rows/train_rows instead of 1/n, since folds share most of their training
    rows. n - 1 degrees of freedom. None where undefined: a single fold, the same difference in every fold, or no
    training rows.
    """
    from scipy.stats import t as student

    n = len(differences)
    if n < 2 or not train_rows:
        return None
    mean, variance = float(np.mean(differences)), float(np.var(differences, ddof=1))
    if variance <= 1e-24:  # the same difference in every fold
        return 1.0 if abs(mean) <= 1e-12 else None
    statistic = mean / math.sqrt((1 / n + test_rows / train_rows) * variance)
    return float(2 * student.sf(abs(statistic), n - 1))


@dataclass(frozen=True)
class Bin:
    """One confidence bin: the number of rows in it, their mean confidence and their accuracy."""

    rows: int
    confidence: float
    accuracy: float


def reliability(probabilities: Floats, truth: Ints, *, bins: int = BINS) -> list[Bin]:
    """Reliability diagram of probabilities (n, K): confidence (the largest of K) and accuracy in equal-width bins.

    Empty bins are left out.
    """
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == truth
    bin_of = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    masks = [bin_of == number for number in np.unique(bin_of)]
    return [Bin(int(m.sum()), float(confidence[m].mean()), float(correct[m].mean())) for m in masks]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over rows (Guo et al., 2017)."""
    rows = sum(one.rows for one in bins)
    return sum(one.rows * abs(one.confidence - one.accuracy) for one in bins) / rows


def negative_log_likelihood(probabilities: Floats, truth: Ints) -> float:
    """The mean negative logarithm of the probability (n, K) of each row's class `truth` (n,)."""
    true = probabilities[np.arange(len(truth)), truth]
    return -float(np.log(np.maximum(true, np.finfo(np.float64).tiny)).mean())


def fit_temperature(logits: NDArray[np.floating], truth: Ints) -> float:
    """Fit T, 0.05 to 20, to minimise the cross-entropy of logits (n, K) / T and truth (n,) (Guo et al., 2017)."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    whole, rows = logits.astype(np.float64), np.arange(len(truth))

    def cross_entropy(log_temperature: float) -> float:
        return -float(log_softmax(whole / math.exp(log_temperature), axis=1)[rows, truth].mean())

    return math.exp(minimize_scalar(cross_entropy, bounds=(math.log(0.05), math.log(20)), method="bounded").x)
