"""Systems are compared on the same test rows: repeats in one order, differences paired, temperatures of validation."""

from __future__ import annotations

import numpy as np
import pytest

from msa.pipeline.data.split import Fold
from msa.pipeline.evaluation.comparison import by_repeat, calibrate, compare, score_folds

LABELS = np.array([0, 1] * 20)
CLASSES = ("negative", "positive")


def folds(*, repeats: int = 1) -> list[Fold]:
    found = []
    for repeat in range(repeats):
        order = np.random.default_rng(repeat).permutation(40)
        for test in (order[:20], order[20:]):
            rest = np.setdiff1d(order, test)
            found.append(Fold(rest[:15], rest[15:], test, repeat))
    return found


def test_rows_of_each_repeat_come_in_ascending_order() -> None:
    rows = by_repeat(folds(repeats=2), [fold.test for fold in folds(repeats=2)])
    np.testing.assert_array_equal(rows, [np.arange(40)] * 2)


def test_a_system_against_itself_differs_by_nothing() -> None:
    made = folds(repeats=2)
    own = [LABELS[fold.test] for fold in made]
    found = compare(LABELS, made, own, own, CLASSES, groups=np.arange(40))
    assert found.difference["accuracy"] == 0
    assert (found.mcnemar, found.only_head, found.only_other) == (1, 0, 0)


def test_the_better_system_wins_by_the_rows_that_it_alone_has_right() -> None:
    made = folds()
    right = [LABELS[fold.test] for fold in made]
    wrong = [1 - one for one in right]
    found = compare(LABELS, made, right, wrong, CLASSES, groups=np.arange(40))
    assert found.difference["accuracy"] == 1
    assert (found.only_head, found.only_other) == (40, 0)
    assert found.mcnemar < 0.001
    assert [one["accuracy"] for one in score_folds(LABELS, made, wrong, CLASSES)] == [0, 0]


def test_the_temperature_is_that_of_validation_rows_and_softens_what_is_too_sure() -> None:
    made = folds()
    predicted = np.where(np.arange(40) % 5 > 0, LABELS, 1 - LABELS)
    logits = (10 * np.eye(2)[predicted]).astype(np.float32)  # a fifth is wrong, and as sure
    found = calibrate(LABELS, made, [logits[f.test] for f in made], [(f.rest, logits[f.rest]) for f in made])
    assert min(found.temperatures) > 1
    assert found.after < found.before
    fixed = calibrate(LABELS, made, [logits[f.test] for f in made], [], [1.0, 1.0])
    assert fixed.after == pytest.approx(fixed.before)
