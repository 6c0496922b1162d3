"""The majority class and the linear probe: what they learn from, and what they must not learn from."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from padded_inputs import ragged
from sklearn.exceptions import ConvergenceWarning

from msa.features.spec import EncoderSpec
from msa.heads.base import Inputs
from msa.pipeline.data.cached_features import CachedFeatures, ModalityTable
from msa.pipeline.data.split import Fold, Posts
from msa.pipeline.evaluation.baselines import (
    SYSTEMS,
    Probe,
    baseline_predictions,
    linear_probe,
    predict_majority,
    svm_probe,
)
from msa.pipeline.evaluation.pooled_rows import pooled_matrix


def rows_of(n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three classes that differ in their means in the first columns of eight."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = draw.normal(size=(n, 8)).astype(np.float32)
    x[np.arange(n), y] += 3
    return x, y


def probe(*, classes: int = 3, metric: str = "accuracy", balance: Any = "none", **changes: NDArray[Any]) -> Probe:
    """A probe of one fold; `changes` replace its vectors or labels by part, x_train for example."""
    (x_train, y_train), (x_valid, y_valid), (x_test, _) = rows_of(120, 0), rows_of(60, 1), rows_of(60, 2)
    parts = {"x_train": x_train, "y_train": y_train, "x_valid": x_valid, "y_valid": y_valid, "x_test": x_test} | changes
    vectors = [parts["x_train"], parts["x_valid"], parts["x_test"]]
    labels = np.concatenate([parts["y_train"], parts["y_valid"], np.full(len(vectors[2]), -1)])
    train, valid, test = np.split(np.arange(len(labels)), np.cumsum([len(part) for part in vectors[:2]]))
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        return linear_probe(
            np.concatenate(vectors), labels, Fold(train, valid, test), classes=classes, metric=metric, balance=balance
        )


def test_majority_is_the_most_frequent_training_class() -> None:
    assert predict_majority(np.array([2, 1, 1, 2, 2]), 4).tolist() == [2, 2, 2, 2]
    assert predict_majority(np.array([2, 0]), 1).tolist() == [0]
    with pytest.raises(ValueError, match="needs training rows"):
        predict_majority(np.array([], dtype=np.int64), 4)


def test_pooled_matrix_marks_what_is_missing() -> None:
    image_mask = torch.tensor([[True, True], [False, False]])
    text_mask = torch.tensor([[True], [True]])
    inputs = Inputs(torch.ones(2, 2, 3), image_mask, 2 * torch.ones(2, 1, 2).half(), text_mask)
    matrix = pooled_matrix(ragged(inputs))
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, [[1, 1, 1, 2, 2, 0, 0], [np.nan, np.nan, np.nan, 2, 2, 1, 0]])
    assert bool((inputs.image == 1).all())


def test_the_probe_learns_what_is_linear() -> None:
    result = probe()
    assert np.mean(result.predictions == rows_of(60, 2)[1]) > 0.85
    np.testing.assert_allclose(result.probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(result.probabilities.argmax(1), result.predictions)


def test_missing_rows_get_the_training_mean_and_not_the_test_mean() -> None:
    x_train, _ = rows_of(120, 0)
    x_test, _ = rows_of(60, 2)
    gaps, filled, elsewhere = x_test.copy(), x_test.copy(), 100 + x_test
    gaps[0], filled[0], elsewhere[0] = np.nan, x_train.mean(0), np.nan
    result = probe(x_test=gaps).probabilities[0]
    np.testing.assert_allclose(result, probe(x_test=filled).probabilities[0], atol=1e-5)
    np.testing.assert_array_equal(result, probe(x_test=elsewhere).probabilities[0])


def test_test_rows_never_change_the_fit() -> None:
    x_test, _ = rows_of(60, 2)
    alone = probe(x_test=x_test[:5])
    np.testing.assert_allclose(alone.probabilities, probe().probabilities[:5], atol=1e-6)
    assert alone.c == probe().c


def test_the_validation_rows_choose_the_penalty() -> None:
    x, y = rows_of(150, 0)
    y = np.where(np.arange(150) % 2, 0, y)  # class 0 has the majority
    data = {"x_train": x, "y_train": y, "x_test": x}
    cautious = probe(**data, x_valid=x[y == 0], y_valid=y[y == 0])
    eager = probe(**data, x_valid=x[y != 0], y_valid=y[y != 0])
    assert (cautious.predictions == 0).all()
    assert cautious.c < eager.c
    assert np.mean(eager.predictions[y != 0] == y[y != 0]) > 0.3


def test_columns_that_are_constant_or_wholly_missing_do_no_harm() -> None:
    def widen(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([x, np.full((len(x), 1), np.nan, np.float32), np.ones((len(x), 1), np.float32)], 1)

    parts = {"x_train": rows_of(120, 0), "x_valid": rows_of(60, 1), "x_test": rows_of(60, 2)}
    wide = probe(**{name: widen(x) for name, (x, _) in parts.items()})
    np.testing.assert_allclose(wide.probabilities, probe().probabilities, atol=1e-3)


def test_a_class_without_training_rows_gets_probability_zero() -> None:
    x_train, y_train = rows_of(120, 0)
    result = probe(x_train=x_train[y_train != 1], y_train=y_train[y_train != 1])
    assert result.probabilities.shape == (60, 3)
    assert (result.probabilities[:, 1] == 0).all()
    assert set(result.predictions) <= {0, 2}


def test_same_input_same_answer() -> None:
    np.testing.assert_array_equal(probe().probabilities, probe().probabilities)


def test_balance_lifts_the_rare_class() -> None:
    draw = np.random.default_rng(0)
    y = (np.arange(300) % 10 == 0).astype(np.int64)
    x = (draw.normal(size=(300, 4)) + y[:, None]).astype(np.float32)
    data = {"x_train": x, "y_train": y, "x_valid": x, "y_valid": y, "x_test": x, "classes": 2}
    assert probe(**data, balance="weights").predictions.sum() > 2 * probe(**data).predictions.sum()


def test_wrong_arguments_raise_a_clear_error() -> None:
    with pytest.raises(ValueError, match=r"metric must be one of accuracy, .*, got 'f1'"):
        probe(metric="f1")
    with pytest.raises(ValueError, match="two classes among 120 training rows"):
        probe(y_train=np.zeros(120, np.int64))


def test_each_baseline_uses_only_its_columns_and_its_fold() -> None:
    """The image separates the classes of the first half of the posts, the text those of the second."""
    draw = np.random.default_rng(0)
    n = 240
    labels = np.arange(n) % 2
    first = np.arange(n) < n // 2
    vectors = {
        name: (draw.normal(size=(n, 3)) * 0.3 + (labels * mine)[:, None] * 4).astype(np.float32)
        for name, mine in (("image", first), ("text", ~first))
    }
    spec = EncoderSpec("eye", "image", "timm", "fake", "sha256:0", "last", "mean", "{}", 3, "float32")
    present = np.ones(n, bool)
    image, text = (ModalityTable((spec,), present, vectors[name]) for name in ("image", "text"))
    posts = Posts([str(i) for i in range(n)], ["ab"[k] for k in labels], np.arange(n), [None] * n)
    table = CachedFeatures(posts, ("a", "b"), image, text)
    rows = draw.permutation(n)
    folds = [Fold(rows[:140], rows[140:170], rows[170:]), Fold(rows[100:], rows[70:100], rows[:70])]
    predictions = baseline_predictions(table, folds, seed=0)
    assert list(predictions) == [name for name in SYSTEMS if name != "linear_joint"]
    for number, fold in enumerate(folds):
        right = {name: found[number] == labels[fold.test] for name, found in predictions.items()}
        half = first[fold.test]
        assert right["linear"].mean() > 0.95
        assert right["linear_image"][half].mean() > 0.8 > right["linear_image"][~half].mean() + 0.1
        assert right["linear_text"][~half].mean() > 0.8 > right["linear_text"][half].mean() + 0.1
        assert len({*predictions["majority"][number].tolist()}) == 1
    assert list(baseline_predictions(replace(table, text=None), folds, seed=0)) == ["majority", "linear", "svm"]
    (alone,) = baseline_predictions(table, folds, seed=0, systems=("linear",)).values()
    np.testing.assert_array_equal(alone[1], predictions["linear"][1])


def test_the_svm_learns_what_no_line_separates() -> None:
    draw = np.random.default_rng(0)
    matrix = draw.normal(size=(400, 6)).astype(np.float32)
    labels = (matrix[:, 0] * matrix[:, 1] > 0).astype(np.int64)
    matrix[5::50, 2] = np.nan
    fold = Fold(*np.split(np.arange(400), [240, 300]))
    found = svm_probe(matrix, labels, fold, classes=2)
    truth = labels[fold.test]
    assert (found.predictions == truth).mean() > 0.85
    assert (linear_probe(matrix, labels, fold, classes=2).predictions == truth).mean() < 0.7
    np.testing.assert_array_equal(found.probabilities.argmax(1), found.predictions)
    # Neither the vectors nor the labels of test rows are learned from.
    other, changed = matrix.copy(), labels.copy()
    other[fold.test[1:]], changed[fold.test] = 100, 0
    again = svm_probe(other, changed, fold, classes=2)
    assert (again.predictions[0], again.c) == (found.predictions[0], found.c)
