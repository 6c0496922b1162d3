"""Rows of the ablation table: differences, intervals and tests computed by hand, and Shapley values that add up."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from numpy.typing import NDArray

from msa.pipeline.ablation.results import Scoring, ablation_row, change, shapley_values
from msa.pipeline.data.cached_features import CachedFeatures
from msa.pipeline.data.split import Fold, Posts
from msa.pipeline.metrics.scores import score
from msa.pipeline.metrics.shapley import shapley_pair
from msa.pipeline.metrics.statistics import Interval, bootstrap, corrected_t, mcnemar

N = 120
CLASSES = ("a", "b", "c")
TRUTH = np.arange(N) % 3


def scoring(*, folds: int = 2, seeds: int = 1) -> Scoring:
    """N posts in pairs of duplicates, in folds that train on the others."""
    posts = Posts([f"p{n}" for n in range(N)], [CLASSES[n] for n in TRUTH], np.arange(N) // 2, [None] * N)
    parts = np.array_split(np.arange(N), folds)
    rest = [np.setdiff1d(np.arange(N), part) for part in parts]
    split = [Fold(others[10:], others[:10], part) for others, part in zip(rest, parts, strict=True)]
    return Scoring(CachedFeatures(posts, CLASSES, None, None), split, seeds)


def logits(right: float, seed: int) -> NDArray[np.float32]:
    """Logits (N, 3) that predict the true class for this share of rows, and a random one for the others."""
    rng = np.random.default_rng(seed)
    predicted = np.where(rng.random(N) < right, TRUTH, rng.integers(0, 3, N))
    return (np.eye(3)[predicted] * 2 + rng.random((N, 3))).astype(np.float32)


def by_fold(bench: Scoring, *all_rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [rows[fold.test] for rows in all_rows for fold in bench.folds]


def test_a_row_agrees_with_the_metrics_of_the_same_predictions() -> None:
    bench = scoring()
    full, less = logits(0.8, 1), logits(0.4, 2)
    row = ablation_row(bench, by_fold(bench, less), by_fold(bench, full), fusion="gated", inputs="text", variant="")
    folds = [
        [score(TRUTH[f.test], one[f.test].argmax(1), CLASSES)["accuracy"] for f in bench.folds] for one in (less, full)
    ]
    gaps = [a - b for a, b in zip(*folds, strict=True)]
    assert row.metrics["accuracy"]["mean"] == pytest.approx(np.mean(folds[0]))
    assert row.difference["accuracy"] == pytest.approx(np.mean(gaps))
    test = mcnemar(TRUTH, less.argmax(1), full.argmax(1))
    assert row.tests is not None
    assert (row.tests.mcnemar, row.tests.only_head, row.tests.only_other) == (
        test.mid,
        test.only_first,
        test.only_second,
    )
    assert row.tests.corrected_t["accuracy"] == corrected_t(gaps, train_rows=N / 2, test_rows=N / 2)
    bounds = row.difference_intervals["accuracy"]
    low, high = bounds.low, bounds.high
    assert low < row.difference["accuracy"] < high < 0
    assert set(row.f1_change) == set(CLASSES)
    assert all(value < 0 for value in row.f1_change.values())
    whole = ablation_row(bench, own := by_fold(bench, full), own, fusion="gated", inputs="both", variant="")
    assert set(whole.difference.values()) == set(whole.f1_change.values()) == {0.0}
    assert whole.difference_intervals["accuracy"] == Interval(0.0, 0.0, 0.0, N // 2)
    assert (whole.tests, whole.change) == (None, {})


def test_seeds_are_repeats_and_the_t_test_counts_each_fold_once() -> None:
    """Three seeds with the same predictions carry no more information than one of them."""
    one, three = scoring(folds=4), scoring(folds=4, seeds=3)
    full, less = logits(0.8, 1), logits(0.7, 2)
    alone = ablation_row(one, by_fold(one, less), by_fold(one, full), fusion="x", inputs="text", variant="")
    thrice = ablation_row(
        three, by_fold(three, *[less] * 3), by_fold(three, *[full] * 3), fusion="x", inputs="text", variant=""
    )
    assert [fold.repeat for fold in three.all_folds] == [0] * 4 + [1] * 4 + [2] * 4
    assert thrice.tests is not None
    assert alone.tests is not None
    assert thrice.tests.corrected_t == pytest.approx(alone.tests.corrected_t)
    assert thrice.tests.mcnemar == min(1.0, 2 * alone.tests.mcnemar)
    assert thrice.difference == pytest.approx(alone.difference)
    assert thrice.metrics["accuracy"]["mean"] == pytest.approx(alone.metrics["accuracy"]["mean"])
    assert thrice.f1_change == pytest.approx(alone.f1_change)


def test_a_paired_interval_is_narrower_and_zero_between_equal_systems() -> None:
    """Two systems that err on the same posts: what the posts have in common cancels."""
    rng = np.random.default_rng(0)
    truth, groups = np.tile(TRUTH, 5), np.arange(5 * N)
    first = np.where(rng.random(5 * N) < 0.6, truth, (truth + 1) % 3)
    second = np.where(rng.random(5 * N) < 0.05, (truth + 2) % 3, first)
    paired = bootstrap(groups, truth, first[None], minus=second[None], classes=3)["accuracy"]
    apart = bootstrap(groups, truth, first[None], classes=3)["accuracy"]
    gap = (first == truth).mean() - (second == truth).mean()
    assert paired.estimate == pytest.approx(gap)
    assert paired.low < gap < paired.high
    assert paired.high - paired.low < 0.6 * (apart.high - apart.low)
    alike = bootstrap(groups, truth, first[None], minus=first[None], classes=3)["macro_f1"]
    assert alike == Interval(0.0, 0.0, 0.0, len(np.unique(groups)))


def test_a_paired_interval_draws_whole_groups() -> None:
    """Ten copies of every post carry no more information than the post itself."""
    rng = np.random.default_rng(3)
    first = np.where(rng.random(N) < 0.7, TRUTH, (TRUTH + 1) % 3)
    second = np.where(rng.random(N) < 0.5, TRUTH, (TRUTH + 1) % 3)
    one = bootstrap(np.arange(N), TRUTH, first[None], minus=second[None], classes=3)["accuracy"]
    posts, truth = np.tile(np.arange(N), 10), np.tile(TRUTH, 10)
    both = np.tile(first, 10)[None], np.tile(second, 10)[None]
    ten = bootstrap(posts, truth, both[0], minus=both[1], classes=3)["accuracy"]
    assert astuple(ten) == pytest.approx(astuple(one))


def test_change_counts_what_moved() -> None:
    before = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    after = before.copy()
    after[0] = [0, 4]
    assert change([before], [before]) == {"logits": 0.0, "predictions": 0.0}
    assert change([after], [before]) == {"logits": 4.0, "predictions": 0.25}


def test_shapley_values_add_up_and_that_of_an_unused_modality_is_0() -> None:
    image, text = shapley_pair(0.6, 0.65, 0.70, 0.74)
    assert image + text == pytest.approx(0.74 - 0.6)
    assert (image, text) == pytest.approx((0.045, 0.095))
    assert shapley_pair(0.5, 0.5, 0.8, 0.8) == pytest.approx((0.0, 0.3))
    assert shapley_pair(0.5, 0.7, 0.7, 0.9) == pytest.approx((0.2, 0.2))
    scores = {
        key: [{"accuracy": value, "macro_f1": value / 2, "mcc": 0.0}, {"accuracy": value, "macro_f1": 0.0, "mcc": 0.0}]
        for key, value in {"neither": 0.6, "image": 0.65, "text": 0.70, "both": 0.74}.items()
    }
    found = shapley_values(scores)
    assert found["image"]["accuracy"] == pytest.approx({"mean": image, "std": 0.0})
    assert found["text"]["macro_f1"]["mean"] == pytest.approx(text / 4)
    assert found["neither"]["accuracy"]["mean"] == pytest.approx(0.6)
