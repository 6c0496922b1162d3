"""One head trained over the folds of one data set, and its baselines: the unit that train-head is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..features.encoders import Modality
from .baselines import linear_probe, majority, pooled_matrix
from .data import FeatureTable
from .evaluate import score
from .fold_result import FoldResult as FoldResult
from .fold_result import log_mean as log_mean
from .fold_result import softmax as softmax
from .head_config import HeadConfig as HeadConfig
from .inputs import build_inputs
from .many import Keepers, Task, train_many
from .split import Fold
from .train_config import TrainConfig

FoldDone = Callable[[int, int], None]


def train_folds(
    table: FeatureTable,
    folds: Sequence[Fold],
    config: HeadConfig,
    training: TrainConfig,
    *,
    without: Modality | None = None,
    device: str = "cpu",
    done: FoldDone = lambda number, total: None,
    keepers: Keepers | None = None,
) -> list[FoldResult]:
    """Train and score the head on every fold; `without` hides one modality from training and scoring alike.

    With `keepers`, trainings that were cut off go on.
    """
    task = Task(config, training, without, keepers)
    return train_many(table, folds, [task], device=device, done=done)[0]


def baseline_metrics(table: FeatureTable, folds: Sequence[Fold], *, seed: int) -> dict[str, list[dict[str, float]]]:
    """The majority class and the linear probe on pooled vectors, scored on the same rows: metrics per fold."""
    matrix = pooled_matrix(build_inputs(table, tokens=False))
    labels = table.targets()
    found: dict[str, list[dict[str, float]]] = {"majority": [], "linear": []}
    for fold in folds:
        truth = labels[fold.score]
        guess = majority(labels[fold.train], len(truth))
        probed = linear_probe(
            matrix[fold.train],
            labels[fold.train],
            matrix[fold.stop],
            labels[fold.stop],
            matrix[fold.score],
            classes=len(table.classes),
            seed=seed,
        )
        found["majority"].append(score(truth, guess, table.classes))
        found["linear"].append(score(truth, probed.predictions, table.classes))
    return found
