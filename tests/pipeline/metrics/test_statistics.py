"""Intervals, tests and calibration equal those of SciPy and scikit-learn, and hold on simulated data."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.calibration import calibration_curve

from msa.pipeline.metrics.scores import METRICS, confusion
from msa.pipeline.metrics.statistics import (
    INTERVAL_METRICS,
    Bin,
    bootstrap,
    calibration_error,
    corrected_t,
    fit_temperature,
    mcnemar,
    over_repeats,
    reliability,
)
from msa.pipeline.metrics.tables import interval_text


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_resampled_metrics_equal_those_of_the_tables(rows: list[tuple[int, int]]) -> None:
    counts = confusion(*np.array(rows).T, range(3))
    for name, metric in INTERVAL_METRICS.items():
        assert metric(np.stack([counts, counts]))[1] == pytest.approx(METRICS[name](counts))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 10))
def test_mcnemar_is_the_binomial_test_of_the_discordant_rows(one: int, two: int, both: int) -> None:
    truth = np.zeros(one + two + both + 1, np.int64)
    first, second = truth.copy(), truth.copy()
    first[:two] = 1
    second[two : two + one] = 1
    found = mcnemar(truth, first, second)
    assert (found.only_first, found.only_second) == (one, two)
    swapped = mcnemar(truth, second, first)
    assert (swapped.exact, swapped.mid) == (found.exact, found.mid)
    if one + two:
        test = stats.binomtest(one, one + two, 0.5)
        assert found.exact == pytest.approx(test.pvalue)
        point = Fraction(math.comb(one + two, one), 2 ** (one + two))
        assert found.mid == pytest.approx(1.0 if one == two else test.pvalue - float(point))
    else:
        assert found.exact == found.mid == 1.0


def test_p_values_of_repeats_are_combined() -> None:
    assert over_repeats([0.03]) == 0.03
    assert over_repeats([0.01, 0.02, 0.5]) == 0.04
    assert over_repeats([0.9, 0.8]) == 1.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=30).filter(lambda xs: np.std(xs) > 1e-6))
def test_without_shared_rows_the_corrected_t_is_the_t_test(differences: list[float]) -> None:
    plain = stats.ttest_1samp(differences, 0)
    assert corrected_t(differences, train_rows=1, test_rows=0) == pytest.approx(plain.pvalue, abs=1e-12)
    n = len(differences)
    smaller = abs(plain.statistic) / math.sqrt(1 + n / 9)
    corrected = corrected_t(differences, train_rows=90, test_rows=10)
    assert corrected == pytest.approx(2 * stats.t.sf(smaller, n - 1), abs=1e-12)


def test_the_corrected_t_is_undefined_for_equal_differences() -> None:
    assert corrected_t([0.1], train_rows=90, test_rows=10) is None
    assert corrected_t([0.1, 0.1, 0.1], train_rows=90, test_rows=10) is None
    assert corrected_t([0.0, 0.0, 0.0], train_rows=90, test_rows=10) == 1.0
    assert corrected_t([0.1, 0.2, 0.3], train_rows=0, test_rows=10) is None


def test_the_corrected_t_keeps_its_level_where_the_plain_one_does_not() -> None:
    """Folds that share a common error: the plain t-test rejects far too often, the corrected one in about 5 %."""
    draw = np.random.default_rng(0)
    n, train_rows, test_rows = 10, 90, 10
    shared = test_rows / train_rows / (1 + test_rows / train_rows)  # correlation that Nadeau & Bengio assume
    plain = corrected = 0
    for _ in range(400):
        folds = draw.normal(size=n) * math.sqrt(1 - shared) + draw.normal() * math.sqrt(shared)
        plain += float(stats.ttest_1samp(folds, 0).pvalue) < 0.05
        p = corrected_t(folds.tolist(), train_rows=train_rows, test_rows=test_rows)
        corrected += p is not None and p < 0.05
    assert plain > 50
    assert 8 <= corrected <= 34


def drawn(draw: np.random.Generator, groups: int, right: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group, truth and prediction of rows in groups of 1 to 6; a whole group is right or wrong."""
    sizes = draw.integers(1, 7, groups)
    group = np.repeat(np.arange(groups), sizes)
    truth = draw.integers(0, 3, len(group))
    hit = np.repeat(draw.random(groups) < right, sizes)
    return group, truth, np.where(hit, truth, (truth + 1) % 3)


def test_intervals_cover_the_true_accuracy_at_their_level() -> None:
    draw = np.random.default_rng(0)
    by_group = by_row = 0
    for number in range(400):
        group, truth, prediction = drawn(draw, 200, 0.7)
        found = bootstrap(group, truth, prediction[None], classes=3, draws=300, seed=number)["accuracy"]
        by_group += found.low <= 0.7 <= found.high
        if number >= 100:
            continue
        rows = np.arange(len(group))
        found = bootstrap(rows, truth, prediction[None], classes=3, draws=300, seed=number)["accuracy"]
        by_row += found.low <= 0.7 <= found.high
    assert 0.905 <= by_group / 400 <= 0.975
    assert by_row / 100 < 0.80  # intervals are too narrow when duplicates count as independent rows


def test_repeats_are_averaged_and_a_seed_gives_the_same_interval() -> None:
    group, truth, prediction = drawn(np.random.default_rng(1), 80, 0.6)
    two = np.stack([prediction, truth])
    found = bootstrap(group, truth, two, classes=3)
    assert found == bootstrap(group, truth, two, classes=3)
    assert found["accuracy"].estimate == pytest.approx(((prediction == truth).mean() + 1) / 2)
    assert found["macro_f1"].low < found["macro_f1"].estimate < found["macro_f1"].high
    alone = bootstrap(group, truth, prediction[None], classes=3)["accuracy"]
    assert found["accuracy"].high - found["accuracy"].low == pytest.approx((alone.high - alone.low) / 2, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(2, 20), st.integers(0, 99))
def test_reliability_is_scikit_learns_calibration_curve(n: int, bins: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    probabilities = draw.dirichlet([1, 1, 1], n)
    truth = draw.integers(0, 3, n)
    found = reliability(probabilities, truth, bins=bins)
    right, confidence = calibration_curve(
        probabilities.argmax(1) == truth, probabilities.max(1), n_bins=bins, pos_label=True
    )
    assert [one.accuracy for one in found] == pytest.approx(right.tolist())
    assert [one.confidence for one in found] == pytest.approx(confidence.tolist())
    assert sum(one.rows for one in found) == n


def test_calibration_error_weights_bins_by_their_rows() -> None:
    assert calibration_error([Bin(30, 0.9, 0.8), Bin(10, 0.5, 0.7)]) == pytest.approx((30 * 0.1 + 10 * 0.2) / 40)
    sure = np.eye(3)[[0, 1, 2]]
    assert calibration_error(reliability(sure, np.array([0, 1, 2]))) == 0


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_scaled_the_logits_is_recovered(temperature: float) -> None:
    draw = np.random.default_rng(0)
    calibrated = draw.normal(size=(20_000, 3)) * 1.5
    probabilities = np.exp(calibrated) / np.exp(calibrated).sum(1, keepdims=True)
    truth = (draw.random((len(calibrated), 1)) > probabilities.cumsum(1)).sum(1).clip(max=2)
    assert fit_temperature(calibrated * temperature, truth) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_stays_within_its_bounds() -> None:
    assert 0.05 <= fit_temperature(np.eye(3) * 2, np.arange(3)) < 0.06
    assert 19 < fit_temperature(np.eye(3) * 2, (np.arange(3) + 1) % 3) <= 20


def test_an_interval_from_few_groups_is_not_shown() -> None:
    truth = np.tile([0, 1], 20)
    for size, shown in ((9, False), (10, True)):
        found = bootstrap(np.arange(40) % size, truth, (1 - truth)[None], classes=2)
        assert found["accuracy"].groups == size
        assert found["accuracy"].reliable is shown
        assert ("only 9 groups" in interval_text(found)) is not shown
        assert ("accuracy 0.000 to 0.000" in interval_text(found)) is shown
