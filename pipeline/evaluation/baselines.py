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
from ...features.messages import notify
from ...features.progress import stage, step
from ..data.cached_features import CachedFeatures
from ..data.inputs import joint_columns
from ..data.split import Fold
from ..metrics.scores import METRICS, score
from ..runs.results import SINGLES
from .pooled_rows import Matrix, PooledRows, Standardised

Labels = NDArray[np.int64]
Logits = NDArray[np.float32]

# Strongest penalty first: each fit starts from the previous solution, and the weak penalties, slow to fit, come last.
PENALTIES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
PROBE_ROWS = 20_000  # training rows of a probe, and of the SVM, where features are mapped: more change little
SVM_ROWS = 10_000
PATIENCE = 2  # worse scores on the validation rows before the remaining penalties are skipped

SVM_PENALTIES = (0.3, 1.0, 3.0)  # C
SVM_COMPONENTS = 64  # principal components: the score of all columns in a twentieth of the time

SYSTEMS = ("majority", "linear", *SINGLES, "linear_joint", "svm")


class Probe(NamedTuple):
    """Predictions of a linear probe: class indices (n,), probabilities (n, K), and the C chosen on validation rows."""

    predictions: Labels
    probabilities: NDArray[np.float64]
    c: float


def predict_majority(y_train: Labels, n: int) -> Labels:
    """Predict the most frequent training class (the first of equals) for n rows.

    Raises ValueError without training rows.
    """
    if not len(y_train):
        raise ValueError("the majority class needs training rows, got none")
    return np.full(n, np.bincount(y_train).argmax(), dtype=np.int64)


def baseline_predictions(
    table: CachedFeatures, folds: Sequence[Fold], *, seed: int, systems: Sequence[str] = SYSTEMS
) -> dict[str, list[Labels]]:
    """Predictions of the given SYSTEMS for each fold's test rows; one-modality probes only if the table has both.

    What embeds image and text together is in neither of these, and has a probe of its own.

    A probe, and the SVM, are trained on the fold's training rows and tuned on its validation rows.
    """
    from sklearn.exceptions import ConvergenceWarning

    stage("fitting baselines")
    labels, classes = table.targets(), len(table.classes)
    matrix, width = PooledRows.of(table)
    columns = _probed_columns(table, width, matrix.width)
    predictions = {"majority": [predict_majority(labels[fold.train], len(fold.test)) for fold in folds]}
    parts = {name: matrix.select(chosen) for name, chosen in columns.items() if name in systems}
    fewer = {most: [matrix.fewer(fold, most) for fold in folds] for most in (PROBE_ROWS, SVM_ROWS)}
    if len(fewer[PROBE_ROWS][0].train) < len(folds[0].train):
        of = " and ".join(f"{len(cut[0].train)}" for cut in fewer.values())
        notify(f"linear probes and SVM are fitted on {of} of {len(folds[0].train)} training posts, evenly spaced")
    with (
        # The validation rows also judge a fit that was cut short.
        warnings.catch_warnings(action="ignore", category=ConvergenceWarning),
        # One probe per core: several threads inside a product of so few columns gain little.
        threadpool_limits(1),
        ThreadPoolExecutor(available_cores()) as pool,
    ):
        running = {
            name: [
                pool.submit(linear_probe, part, labels, fold, classes=classes, seed=seed) for fold in fewer[PROBE_ROWS]
            ]
            for name, part in parts.items()
        }
        if "svm" in systems:
            running["svm"] = [
                pool.submit(svm_probe, matrix, labels, fold, classes=classes, seed=seed) for fold in fewer[SVM_ROWS]
            ]
        waiting, total = count(1), sum(map(len, running.values()))
        for name, futures in running.items():
            predictions[name] = []
            for one in futures:
                predictions[name].append(one.result().predictions)
                step("baselines", next(waiting), total, "probes")
    return {name: predictions[name] for name in systems if name in predictions}


def _probed_columns(table: CachedFeatures, images: int, width: int) -> dict[str, NDArray[np.bool_]]:
    """Which of the `width` columns of `pooled_matrix` each probe reads; the first `images` are those of the images."""
    joint = joint_columns(table)
    image, both = np.zeros(width, bool), np.zeros(width, bool)
    image[:images] = image[-2] = True
    if joint is not None:
        both[images:-2] = joint.numpy()
    text = ~image & ~both
    columns = {"linear": np.ones_like(image)} | ({"linear_joint": both} if joint is not None else {})
    if table.image is not None and table.text is not None:
        columns |= {"linear_image": image} | ({"linear_text": text} if text[:-2].any() else {})
    return columns


def linear_probe(
    matrix: Matrix | PooledRows,
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

    scaled = Standardised(PooledRows.over(matrix), fold.train)
    train, valid = scaled[fold.train], scaled[fold.valid]
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
            probabilities = np.zeros((len(fold.test), classes))
            probabilities[:, model.classes_] = np.concatenate([*map(model.predict_proba, scaled.blocks(fold.test))])
            best, worse, chosen = value, 0, Probe(probabilities.argmax(1), probabilities, c)
        elif value < best:
            worse += 1
            if worse == PATIENCE:
                break
    return chosen


def svm_probe(matrix: Matrix | PooledRows, labels: Labels, fold: Fold, *, classes: int, seed: int = 0) -> Probe:
    """Fit a support vector machine with an RBF kernel on the fold's training rows and predict its test rows.

    As `linear_probe`, on SVM_COMPONENTS principal components of the training rows; C maximises the accuracy on the
    validation rows. A row's probability is 1 of the class that is predicted.

    Raises ValueError on training rows of fewer than two classes.
    """
    from sklearn.decomposition import PCA
    from sklearn.svm import SVC

    scaled = Standardised(PooledRows.over(matrix), fold.train)
    train, valid = scaled[fold.train], scaled[fold.valid]
    pca = PCA(min(SVM_COMPONENTS, *train.shape), svd_solver="randomized", random_state=seed).fit(train)
    train, valid = pca.transform(train), pca.transform(valid)
    best = -np.inf
    for c in SVM_PENALTIES:
        model = SVC(C=c, random_state=seed).fit(train, labels[fold.train])
        value = score(labels[fold.valid], model.predict(valid), range(classes))["accuracy"]
        if value > best:
            best, chosen, penalty = value, model, c
    predictions = np.concatenate([chosen.predict(pca.transform(block)) for block in scaled.blocks(fold.test)])
    return Probe(predictions, np.eye(classes)[predictions], penalty)
