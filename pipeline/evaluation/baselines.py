"""What a head has to beat: the majority class, a linear probe on the pooled vectors, and on either modality alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ...features.encoders.runtime import available_cores
from ...heads.base import Inputs
from ..data.cached_features import CachedFeatures
from ..data.inputs import build_inputs
from ..data.split import Fold
from ..metrics.scores import METRICS, score

Matrix = NDArray[np.float32]
Labels = NDArray[np.int64]

# Strongest penalty first: each fit starts from the one before, which is near, and the slow weak ones come last.
PENALTIES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
PATIENCE = 2  # penalties with a worse score on the validation rows before the rest is skipped


SINGLES = ("linear_image", "linear_text")
SYSTEMS = ("majority", "linear", *SINGLES)


class Probe(NamedTuple):
    """A linear probe's answer: class indices (n,), probabilities (n, K), and the C that the validation rows chose."""

    predictions: Labels
    probabilities: NDArray[np.float64]
    c: float


def majority(y_train: Labels, n: int) -> Labels:
    """Predict the commonest training class (the first of equals) for n rows."""
    if not len(y_train):
        raise ValueError("the majority class needs training rows, got none")
    return np.full(n, np.bincount(y_train).argmax(), dtype=np.int64)


def baseline_guesses(
    table: CachedFeatures, folds: Sequence[Fold], *, seed: int, systems: Sequence[str] = SYSTEMS
) -> dict[str, list[Labels]]:
    """What these of SYSTEMS say of each fold's test rows; those of one modality only where the table has both.

    A probe is trained on the fold's training rows and tuned on its validation rows.
    """
    labels, classes = table.targets(), len(table.classes)
    inputs = build_inputs(table, tokens=False)
    matrix, width = pooled_matrix(inputs), inputs.image.shape[-1]
    place = np.arange(matrix.shape[1])
    image = (place < width) | (place == matrix.shape[1] - 2)
    columns = {"linear": place >= 0}
    if table.image is not None and table.text is not None:
        columns |= {"linear_image": image, "linear_text": ~image}
    guesses = {"majority": [majority(labels[fold.train], len(fold.test)) for fold in folds]}
    seen = {name: matrix[:, chosen] for name, chosen in columns.items() if name in systems}
    # One probe a core: several cores inside a product of so few columns gain little.
    with no_warnings(), threadpool_limits(1), ThreadPoolExecutor(available_cores()) as pool:
        running = {
            name: [pool.submit(probe_fold, part, labels, fold, classes=classes, seed=seed) for fold in folds]
            for name, part in seen.items()
        }
        guesses |= {name: [future.result() for future in futures] for name, futures in running.items()}
    return {name: guesses[name] for name in systems if name in guesses}


@contextmanager
def no_warnings() -> Iterator[None]:
    """Without the warning that a fit was cut short: the validation rows judge it, too. For the main thread alone."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def probe_fold(matrix: Matrix, labels: Labels, fold: Fold, *, classes: int, seed: int) -> Labels:
    """What a linear probe of one fold says of its test rows, from the matrix and labels of all rows."""
    return linear_probe(
        matrix[fold.train],
        labels[fold.train],
        matrix[fold.valid],
        labels[fold.valid],
        matrix[fold.test],
        classes=classes,
        seed=seed,
    ).predictions


def pooled_matrix(inputs: Inputs) -> Matrix:
    """Lay the pooled vectors side by side: (N, I + E + 2).

    The last two columns are 1 where the image, the text is missing; its vector is then NaN, to be filled by
    whoever knows the training rows.
    """
    parts, missing = [], []
    for vectors, mask in ((inputs.image, inputs.image_mask), (inputs.text, inputs.text_mask)):
        absent = ~mask.any(1).cpu().numpy()
        pooled = vectors[:, 0].detach().float().cpu().numpy().copy()
        pooled[absent] = np.nan
        parts.append(pooled)
        missing.append(absent.astype(np.float32)[:, None])
    return np.concatenate([*parts, *missing], axis=1)


def linear_probe(
    x_train: Matrix,
    y_train: Labels,
    x_stop: Matrix,
    y_stop: Labels,
    x_score: Matrix,
    *,
    classes: int,
    metric: str = "accuracy",
    balance: Literal["none", "weights"] = "none",
    seed: int = 0,
) -> Probe:
    """Fit a multinomial logistic regression on the training rows and predict the scored ones.

    Matrices as from `pooled_matrix`, labels class indices. Filling (training mean) and scaling are fitted on the
    training rows; C is the one with the best `metric` (a key of METRICS) on the validation rows.

    Raises ValueError on an unknown metric or training rows of fewer than two classes.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    if len(np.unique(y_train)) < 2:
        raise ValueError(f"a linear probe needs two classes among {len(y_train)} training rows; label more posts")
    from sklearn.linear_model import LogisticRegression

    fill, mean, scale = _statistics(x_train)
    train, stop, scored = (((np.where(np.isnan(x), fill, x) - mean) / scale) for x in (x_train, x_stop, x_score))
    model = LogisticRegression(
        max_iter=100,
        tol=1e-3,
        warm_start=True,
        class_weight="balanced" if balance == "weights" else None,
        random_state=seed,
    )
    best, since, chosen = -np.inf, 0, Probe(np.empty(0, np.int64), np.empty((0, classes)), 0.0)
    for c in PENALTIES:
        model.set_params(C=c)
        model.fit(train, y_train)
        value = score(y_stop, model.predict(stop), range(classes))[metric]
        if value > best:
            probabilities = np.zeros((len(scored), classes))
            probabilities[:, model.classes_] = model.predict_proba(scored)
            best, since, chosen = value, 0, Probe(probabilities.argmax(1), probabilities, c)
        elif value < best:
            since += 1
            if since == PATIENCE:
                break
    return chosen


def _statistics(x: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Per column: the value that fills a gap, then mean and scale after filling; a constant column is left alone."""
    counts = (~np.isnan(x)).sum(0)
    fill = (np.nansum(x, axis=0, dtype=np.float64) / np.maximum(counts, 1)).astype(np.float32)
    filled = np.where(np.isnan(x), fill, x)
    mean, scale = filled.mean(0), filled.std(0)
    return fill, mean, np.where(scale > 1e-7, scale, np.float32(1.0))
