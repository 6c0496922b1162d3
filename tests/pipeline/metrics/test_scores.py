"""Metrics equal scikit-learn's, and inputs that cannot be scored raise an error."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from msa.pipeline.metrics.scores import METRICS, ORDINAL_METRICS, confusion, per_class, score, summarise

CLASSES = ["negative", "neutral", "positive"]
TRUE = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
PRED = np.array([0, 0, 1, 1, 2, 2, 2, 2, 0, 1])


def by_scikit_learn(true: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    options = {"labels": [0, 1, 2], "zero_division": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "accuracy": sk.accuracy_score(true, pred),
            "balanced_accuracy": sk.balanced_accuracy_score(true, pred),
            "macro_f1": sk.f1_score(true, pred, average="macro", **options),
            "weighted_f1": sk.f1_score(true, pred, average="weighted", **options),
            "mcc": sk.matthews_corrcoef(true, pred),
        }


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_scores_equal_scikit_learn_whichever_class_is_absent(rows: list[tuple[int, int]]) -> None:
    true, pred = np.array(rows).T
    assert score(true, pred, CLASSES) == pytest.approx(by_scikit_learn(true, pred), abs=1e-12)
    precision, recall, f1, support = sk.precision_recall_fscore_support(true, pred, labels=[0, 1, 2], zero_division=0)
    levels = {name: value for name, value in score(true, pred, CLASSES, ordered=True).items() if name not in METRICS}
    assert levels.keys() == ORDINAL_METRICS.keys()
    assert levels["mae"] == pytest.approx(sk.mean_absolute_error(true, pred))
    if len({*true, *pred}) > 1:  # else scikit-learn divides by 0
        kappa = sk.cohen_kappa_score(true, pred, labels=[0, 1, 2], weights="quadratic")
        assert levels["qwk"] == pytest.approx(kappa, abs=1e-12)
    table = per_class(true, pred, CLASSES)
    assert [row["precision"] for row in table] == pytest.approx(precision.tolist())
    assert [row["recall"] for row in table] == pytest.approx(recall.tolist())
    assert [row["f1"] for row in table] == pytest.approx(f1.tolist())
    assert [row["support"] for row in table] == support.tolist()


def test_the_first_argument_is_the_truth() -> None:
    negative = per_class(TRUE, PRED, CLASSES)[0]
    assert negative == {
        "label": "negative",
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "support": 3,
    }
    positive = per_class(TRUE, PRED, CLASSES)[2]
    assert (positive["precision"], positive["recall"]) == (pytest.approx(3 / 4), pytest.approx(3 / 5))
    assert confusion(TRUE, PRED, CLASSES).tolist() == [[2, 1, 0], [0, 1, 1], [1, 1, 3]]


def test_one_class_everywhere_scores_without_a_warning() -> None:
    assert score([0, 0], [0, 0], CLASSES) == {
        "accuracy": 1.0,
        "balanced_accuracy": 1.0,
        "macro_f1": pytest.approx(1 / 3),
        "weighted_f1": 1.0,
        "mcc": 0.0,
    }


@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        ([0, 1], [0.2, 0.8], "y_pred must be a vector of class indices, got float64"),
        ([0.0, 1.0], [0, 1], "y_true must be a vector of class indices"),
        ([0, 1], [[0.2, 0.8], [0.5, 0.5]], "take the argmax"),
        ([0, 1], [[0], [1]], "of shape \\(2, 1\\)"),
        ([True, False], [0, 1], "got bool"),
        ([0, -1], [0, 1], "y_true must lie in 0..2, got -1..0; leave unlabelled rows out"),
        ([0, 1], [0, 3], "y_pred must lie in 0..2, got 0..3"),
        ([0, 1], [0], "y_true has 2 rows and y_pred 1"),
        ([], [], "no row to score"),
        (["a"], ["b"], "class indices"),
    ],
)
def test_inputs_that_are_not_class_indices_are_refused(true: list[int], pred: list[int], message: str) -> None:
    for function in (score, per_class, confusion):
        with pytest.raises(ValueError, match=message):
            function(true, pred, CLASSES)


def test_summary_is_the_mean_and_the_sample_deviation() -> None:
    folds = [{"accuracy": 0.7, "mcc": 0.1}, {"accuracy": 0.8, "mcc": 0.1}]
    assert summarise(folds) == {
        "accuracy": {"mean": pytest.approx(0.75), "std": pytest.approx(np.std([0.7, 0.8], ddof=1))},
        "mcc": {"mean": pytest.approx(0.1), "std": 0.0},
    }
    assert summarise(folds[:1])["accuracy"] == {"mean": 0.7, "std": 0.0}


@pytest.mark.parametrize("folds", [[], [{"accuracy": 1.0}, {"mcc": 1.0}]])
def test_folds_that_cannot_be_summarised_are_refused(folds: list[dict[str, float]]) -> None:
    with pytest.raises(ValueError, match="the same metrics of every fold"):
        summarise(folds)


def test_every_metric_has_its_score() -> None:
    assert score(TRUE, PRED, CLASSES).keys() == METRICS.keys()
