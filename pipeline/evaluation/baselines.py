"""Baselines: the majority class, linear probes on the pooled vectors of both modalities or of one, and an RBF SVM."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ...features.encoders.runtime import available_cores
from ...features.progress import stage, step
from ...features.spec import MODALITIES
from ..data.cached_features import CachedFeatures
from ..data.inputs import build_inputs
from ..data.ragged_inputs import RaggedInputs
from ..data.split import Fold
from ..metrics.scores import METRICS, score
from ..runs.results import SINGLES

Matrix = NDArray[np.float32]
Labels = NDArray[np.int64]
Logits = NDArray[np.float32]

# Strongest penalty first: each fit starts from the previous solution, and the weak penalties, slow to fit, come last.
PENALTIES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
PATIENCE = 2  # worse scores on the validation rows before the remaining penalties are skipped

SVM_PENALTIES = (0.3, 1.0, 3.0)  # C
SVM_COMPONENTS = 64  # principal components: the score of all columns in a twentieth of the time

SYSTEMS = ("majority", "linear", *SINGLES, "svm")


class Probe(NamedTuple):
    """Predictions of a linear probe: class indices (n,), probabilities (n, K), and the C chosen on validation rows."""

    predictions: Labels
    probabilities: NDArray[np.float64]
    c: float


def predict_majority(y_train: Labels, n: int) -> Labels:
    """Predict the most frequent training class (the first of equals) for n rows."""
    if not len(y_train):
        raise ValueError("the majority class needs training rows, got none")
    return np.full(n, np.bincount(y_train).argmax(), dtype=np.int64)


def baseline_predictions(
    table: CachedFeatures, folds: Sequence[Fold], *, seed: int, systems: Sequence[str] = SYSTEMS
) -> dict[str, list[Labels]]:
    """Predictions of the given SYSTEMS for each fold's test rows; one-modality probes only if the table has both.

    A probe, and the SVM, are trained on the fold's training rows and tuned on its validation rows.
    """
    from sklearn.exceptions import ConvergenceWarning

    stage("fitting baselines")
    labels, classes = table.targets(), len(table.classes)
    inputs = build_inputs(table, tokens=False)
    matrix, width = pooled_matrix(inputs), inputs.image.width
    index = np.arange(matrix.shape[1])
    image = (index < width) | (index == matrix.shape[1] - 2)
    columns = {"linear": index >= 0}
    if table.image is not None and table.text is not None:
        columns |= {"linear_image": image, "linear_text": ~image}
    predictions = {"majority": [predict_majority(labels[fold.train], len(fold.test)) for fold in folds]}
    parts = {name: matrix[:, chosen] for name, chosen in columns.items() if name in systems}
    with (
        # The validation rows also judge a fit that was cut short.
        warnings.catch_warnings(action="ignore", category=ConvergenceWarning),
        # One probe per core: several threads inside a product of so few columns gain little.
        threadpool_limits(1),
        ThreadPoolExecutor(available_cores()) as pool,
    ):
        running = {
            name: [pool.submit(linear_probe, part, labels, fold, classes=classes, seed=seed) for fold in folds]
            for name, part in parts.items()
        }
        if "svm" in systems:
            running["svm"] = [
                pool.submit(svm_probe, matrix, labels, fold, classes=classes, seed=seed) for fold in folds
            ]
        waiting, total = count(1), sum(map(len, running.values()))
        for name, futures in running.items():
            predictions[name] = []
            for one in futures:
                predictions[name].append(one.result().predictions)
                step("baselines", next(waiting), total, "probes")
    return {name: predictions[name] for name in systems if name in predictions}


def pooled_matrix(inputs: RaggedInputs) -> Matrix:
    """Concatenate the pooled vectors: (N, I + E + 2).

    The last two columns are 1 where the image or the text is missing. A missing vector is NaN, to be imputed from the
    training rows.
    """
    parts, missing = [], []
    for modality in MODALITIES:
        vectors, mask = inputs.side(modality).pooled()
        absent = ~mask.any(1).cpu().numpy()
        pooled = vectors[:, 0].detach().float().cpu().numpy().copy()
        pooled[absent] = np.nan
        parts.append(pooled)
        missing.append(absent.astype(np.float32)[:, None])
    return np.concatenate([*parts, *missing], axis=1)


def linear_probe(
    matrix: Matrix,
    labels: Labels,
    fold: Fold,
    *,
    classes: int,
    metric: str = "accuracy",
    balance: Literal["none", "weights"] = "none",
    seed: int = 0,
) -> Probe:
    """Fit a multinomial logistic regression on the fold's training rows and predict its test rows.

    `matrix` (N, D) as from `pooled_matrix`, `labels` (N,) class indices. Imputation (training mean) and scaling are
    fitted on the training rows; C maximises `metric` (a key of METRICS) on the validation rows.

    Raises ValueError on an unknown metric or training rows of fewer than two classes.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    y_train, y_valid = labels[fold.train], labels[fold.valid]
    if len(np.unique(y_train)) < 2:
        raise ValueError(f"a linear probe needs two classes among {len(y_train)} training rows; label more posts")
    from sklearn.linear_model import LogisticRegression

    train, valid, test = standardised(matrix, fold)
    model = LogisticRegression(
        max_iter=100,
        tol=1e-3,
        warm_start=True,
        class_weight="balanced" if balance == "weights" else None,
        random_state=seed,
    )
    best, worse, chosen = -np.inf, 0, Probe(np.empty(0, np.int64), np.empty((0, classes)), 0.0)
    for c in PENALTIES:
        model.set_params(C=c)
        model.fit(train, y_train)
        value = score(y_valid, model.predict(valid), range(classes))[metric]
        if value > best:
            probabilities = np.zeros((len(test), classes))
            probabilities[:, model.classes_] = model.predict_proba(test)
            best, worse, chosen = value, 0, Probe(probabilities.argmax(1), probabilities, c)
        elif value < best:
            worse += 1
            if worse == PATIENCE:
                break
    return chosen


def svm_probe(matrix: Matrix, labels: Labels, fold: Fold, *, classes: int, seed: int = 0) -> Probe:
    """Fit a support vector machine with an RBF kernel on the fold's training rows and predict its test rows.

    As `linear_probe`, on SVM_COMPONENTS principal components of the training rows; C maximises the accuracy on the
    validation rows. A row's probability is 1 of the class that is predicted.

    Raises ValueError on training rows of fewer than two classes.
    """
    from sklearn.decomposition import PCA
    from sklearn.svm import SVC

    train, valid, test = standardised(matrix, fold)
    pca = PCA(min(SVM_COMPONENTS, *train.shape), svd_solver="randomized", random_state=seed).fit(train)
    train, valid, test = (pca.transform(rows) for rows in (train, valid, test))
    best = -np.inf
    for c in SVM_PENALTIES:
        model = SVC(C=c, random_state=seed).fit(train, labels[fold.train])
        value = score(labels[fold.valid], model.predict(valid), range(classes))["accuracy"]
        if value > best:
            best, chosen, penalty = value, model, c
    predictions = chosen.predict(test)
    return Probe(predictions, np.eye(classes)[predictions], penalty)


def standardised(matrix: Matrix, fold: Fold) -> tuple[Matrix, Matrix, Matrix]:
    """The fold's training, validation and test rows, imputed (NaN: training mean) and scaled as its training rows."""
    x = matrix[fold.train]
    counts = (~np.isnan(x)).sum(0)
    fill = (np.nansum(x, axis=0, dtype=np.float64) / np.maximum(counts, 1)).astype(np.float32)
    filled = np.where(np.isnan(matrix), fill, matrix)
    mean, scale = filled[fold.train].mean(0), filled[fold.train].std(0)
    scale = np.where(scale > 1e-7, scale, np.float32(1.0))  # a constant column keeps its scale
    train, valid, test = ((filled[rows] - mean) / scale for rows in (fold.train, fold.valid, fold.test))
    return train, valid, test
