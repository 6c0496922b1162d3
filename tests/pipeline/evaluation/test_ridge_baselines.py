"""The closed-form baselines agree with scikit-learn and learn from training and validation rows only."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from msa.pipeline.data.split import Fold, Posts, make_folds
from msa.pipeline.evaluation.ridge_baselines import neighbour_predictions, ridge_predictions

N, D, K = 300, 12, 3
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, K, N)
X = (RNG.normal(size=(N, D)) * RNG.uniform(0.1, 30, D) + RNG.normal(size=D) * 5).astype(np.float32)
X[np.arange(N), LABELS] += 20
POSTS = Posts([f"p{n}" for n in range(N)], ["abc"[k] for k in LABELS], np.arange(N), [None] * N)
FOLDS = make_folds(POSTS, folds=4, seed=0)


@pytest.mark.parametrize("alpha", [1.0, 100.0])
def test_ridge_of_every_fold_is_scikit_learns(alpha: float) -> None:
    found = ridge_predictions(X, LABELS, FOLDS, classes=K, alphas=[alpha])
    for fold, predicted in zip(FOLDS, found, strict=True):
        mean, spread = X[fold.train].mean(0), X[fold.train].std(0)
        model = RidgeClassifier(alpha=alpha).fit((X[fold.train] - mean) / spread, LABELS[fold.train])
        assert (predicted == model.predict((X[fold.test] - mean) / spread)).mean() >= 0.999
        assert (predicted == LABELS[fold.test]).mean() > 0.45


def test_the_penalty_is_chosen_on_the_validation_rows() -> None:
    fold = FOLDS[0]
    alphas = (1e5, 1.0)
    each = [
        ridge_predictions(X, LABELS, [Fold(fold.train, fold.valid, fold.valid)], classes=K, alphas=[a])[0]
        for a in alphas
    ]
    best = alphas[int(np.argmax([(one == LABELS[fold.valid]).mean() for one in each]))]
    assert best == 1.0
    chosen = ridge_predictions(X, LABELS, [fold], classes=K, alphas=alphas)[0]
    assert np.array_equal(chosen, ridge_predictions(X, LABELS, [fold], classes=K, alphas=[best])[0])


@pytest.mark.parametrize("baseline", ["ridge", "knn"])
def test_test_labels_and_vectors_have_no_influence(baseline: str) -> None:
    fold = FOLDS[0]
    others, labels = X.copy(), LABELS.copy()
    half = fold.test[len(fold.test) // 2 :]
    others[half] = 1e3
    labels[fold.test] = 0

    def predict(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if baseline == "knn":
            return neighbour_predictions(x, y, fold, classes=K)
        return ridge_predictions(x, y, [fold], classes=K)[0]

    kept = ~np.isin(fold.test, half)
    assert np.array_equal(predict(others, labels)[kept], predict(X, LABELS)[kept])


def test_missing_values_and_a_constant_column_do_no_harm() -> None:
    x = np.concatenate([X, np.zeros((N, 1), np.float32)], 1)
    x[::7, :4] = np.nan
    x[::7, -1] = 0
    for predicted in ridge_predictions(x, LABELS, FOLDS, classes=K):
        assert set(predicted.tolist()) <= set(range(K))
    assert neighbour_predictions(x, LABELS, FOLDS[0], classes=K).shape == FOLDS[0].test.shape


def test_neighbours_are_scikit_learns() -> None:
    accuracies = []
    for fold in FOLDS:
        centred = X - X[fold.train].mean(0)
        expected = {}
        for k in (45, 15, 5, 1):
            model = KNeighborsClassifier(k, metric="cosine").fit(centred[fold.train], LABELS[fold.train])
            expected[k] = model.predict(centred[fold.valid]), model.predict(centred[fold.test])
        best = max(expected, key=lambda k: (expected[k][0] == LABELS[fold.valid]).mean())
        assert (neighbour_predictions(X, LABELS, fold, classes=K) == expected[best][1]).mean() >= 0.99
        accuracies.append((expected[best][1] == LABELS[fold.test]).mean())
    assert np.mean(accuracies) > 0.4


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="metric must be one of accuracy"):
        ridge_predictions(X, LABELS, FOLDS, classes=K, metric="accurate")
