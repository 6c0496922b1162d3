"""One head trained over the folds of one data set: the unit that train-head is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...features.spec import Modality
from ..config.head_config import HeadConfig as HeadConfig
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from .fold_result import FoldResult as FoldResult
from .fold_result import log_mean as log_mean
from .fold_result import softmax as softmax
from .folds import Checkpointers, Task, train_many

FoldDone = Callable[[int, int], None]


def train_folds(
    table: CachedFeatures,
    folds: Sequence[Fold],
    config: HeadConfig,
    training: TrainConfig,
    *,
    without: Modality | None = None,
    device: str = "cpu",
    done: FoldDone = lambda number, total: None,
    checkpointers: Checkpointers | None = None,
) -> list[FoldResult]:
    """Train and score the head on every fold; `without` hides one modality from training and scoring alike.

    With `checkpointers`, trainings that were cut off go on.
    """
    task = Task(config, training, without, checkpointers)
    return train_many(table, folds, [task], device=device, done=done)[0]
