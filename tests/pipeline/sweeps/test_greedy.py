"""Ensemble selection: on planted predictions, and which rows it reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msa.pipeline.data.split import Fold
from msa.pipeline.sweeps.greedy import greedy_selection, mean_over_folds

ROWS = 40
TRUTH = np.arange(ROWS) % 2
EMPTY = np.array([], np.int64)


def predictor(right: NDArray[np.bool_], *, sure: float = 0.9, unsure: float = 0.6) -> NDArray[np.float64]:
    """Probabilities (n, 2) of a model that is sure where it is right, and unsure where it is wrong."""
    true = np.where(right, sure, 1 - unsure)
    return np.stack([np.where(TRUTH == 0, true, 1 - true), np.where(TRUTH == 1, true, 1 - true)], 1)


def accuracy(predicted: NDArray[np.int64]) -> float:
    return float((predicted == TRUTH).mean())


def test_two_models_that_complement_each_other_are_both_picked() -> None:
    rows = np.arange(ROWS)
    one, other = predictor(rows < 28), predictor(rows >= 14)
    same = predictor(rows < 27)  # of the first one's kind
    picked = greedy_selection(np.stack([one, same, other]), accuracy)
    assert picked[0] >= 1
    assert picked[2] >= 1
    assert accuracy(np.average(np.stack([one, same, other]), axis=0, weights=picked).argmax(1)) == 1.0


def test_a_model_may_be_picked_again() -> None:
    """Of two models with equal weights the wrong one is surer; with the right one twice it is outvoted."""
    rows = np.arange(ROWS)
    good = predictor(rows < 36, sure=0.7, unsure=0.55)
    bad = predictor(rows >= 30, sure=0.9, unsure=0.8)
    picked = greedy_selection(np.stack([good, bad]), accuracy)
    assert picked.tolist() == [2, 1]
    assert accuracy(np.average(np.stack([good, bad]), axis=0, weights=picked).argmax(1)) == 1.0


def test_a_single_model_stays_alone_where_others_add_nothing() -> None:
    models = np.stack([predictor(np.arange(ROWS) < 30), predictor(np.arange(ROWS) < 10)])
    assert greedy_selection(models, accuracy).tolist() == [1, 0]


def test_the_selection_begins_with_the_best_models_together() -> None:
    """Three models of which any two are worse than one, since what they disagree on is then wrong."""
    rows = np.arange(30)
    truth = np.ones(30, np.int64)
    wrong = [(rows // 10) == part for part in range(3)]
    models = np.stack([np.where(one[:, None], [0.6, 0.4], [0.4, 0.6]) for one in wrong])
    picked = greedy_selection(models, lambda predicted: float((predicted == truth).mean()), steps=0)
    assert picked.tolist() == [1, 1, 1]


def test_values_are_means_over_folds_and_read_no_other_row() -> None:
    folds = [Fold(EMPTY, EMPTY, np.array(rows)) for rows in ([1, 2], [3, 4, 5, 6])]
    truth = np.array([0, 1, 1, 0, 0, 0, 1, 1])
    predicted = np.array([1, 0, 0, 0, 0, 0])
    classes = ("a", "b")
    assert mean_over_folds(truth, folds, "accuracy", classes)(predicted) == (1 / 2 + 3 / 4) / 2
    truth[[0, 7]] = 1 - truth[[0, 7]]
    assert mean_over_folds(truth, folds, "accuracy", classes)(predicted) == (1 / 2 + 3 / 4) / 2
