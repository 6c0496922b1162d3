"""One head trained over the folds of one data set: the unit that train-head is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...features.spec import Modality
from ..data.cached_features import FeatureTable
from ..data.split import Fold
from .fold_result import FoldResult as FoldResult
from .fold_result import log_mean as log_mean
from .fold_result import softmax as softmax
from .folds import Keepers, Task, train_many
from .head_config import HeadConfig as HeadConfig
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
