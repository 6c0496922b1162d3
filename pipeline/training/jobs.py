"""What is trained over the folds: an experiment is one configuration, a job is one head of it on one fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from shlex import quote
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...features.spec import Modality
from ...heads.base import Head
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures
from ..data.split import Fold, ensemble_folds
from .checkpointing import Checkpointer
from .fold_inputs import FoldInputs, InputsKey

ENSEMBLE_SEEDS = 1000  # distance between the seeds of a fold's heads
Checkpointers = Callable[[int, int], Checkpointer]  # by the numbers of the fold and of the ensemble member


@dataclass(frozen=True)
class Experiment:
    """One configuration, trained on every fold; `without` hides one modality in training and in testing.

    With `checkpointers`, interrupted trainings go on where they stopped.
    """

    config: HeadConfig
    training: TrainConfig
    without: Modality | None = None
    checkpointers: Checkpointers | None = field(default=None, compare=False)


class HeadJob(NamedTuple):
    """One head: the numbers of its experiment, fold and ensemble member, its training and validation rows, its inputs.

    `rows.test` are the test rows of the fold.
    """

    experiment: int
    fold: int
    member: int
    rows: Fold
    inputs_key: InputsKey


def list_jobs(table: CachedFeatures, folds: Sequence[Fold], experiments: Sequence[Experiment]) -> list[HeadJob]:
    """Every head of every experiment on every fold. An ensemble's heads have different validation rows.

    Raises ValueError for a loss over levels where the classes have no order.
    """
    if not table.ordered and any(one.training.loss == "emd" for one in experiments):
        raise ValueError(
            "--loss emd is for ordinal labels; give their order, lowest first, as "
            f"--class-order {quote(','.join(table.classes))}, or --loss cross-entropy"
        )

    @cache
    def member_folds(fold: int, count: int, seed: int) -> tuple[list[Fold], NDArray[np.int64]]:
        members = ensemble_folds(table.posts, folds[fold], count=count, seed=seed)
        return members, np.unique(np.concatenate([member.train for member in members]))

    jobs = []
    for number, experiment in enumerate(experiments):
        size = experiment.config.ensemble_size
        for fold in range(len(folds)):
            members, trained = member_folds(fold, size, experiment.training.seed)
            key = InputsKey.of(experiment.config, trained, experiment.without)
            jobs += [HeadJob(number, fold, member, rows, key) for member, rows in enumerate(members)]
    return jobs


def new_head(fold_inputs: FoldInputs, experiment: Experiment, job: HeadJob) -> tuple[Head, TrainConfig]:
    """A job's untrained head and how to train it. Raises ValueError where the inputs do not allow that training."""
    training = member_training(experiment.training, job.member)
    if fold_inputs.towers.vocabulary and training.mixup:
        raise ValueError("mixup blends vectors, and word pieces are numbers; leave --mixup out, or use a text encoder")
    head = fold_inputs.head(experiment.config.of_member(job.member), training.seed)
    return head, replace(training, epochs=epochs_of(experiment, job.member))


def epochs_of(experiment: Experiment, member: int) -> int:
    """The most epochs of one ensemble member: one where it is fitted at once."""
    return 1 if experiment.config.of_member(member).fitted_at_once else experiment.training.epochs


def member_training(training: TrainConfig, member: int) -> TrainConfig:
    """The training of one ensemble member, with a seed of its own."""
    return replace(training, seed=training.seed + member * ENSEMBLE_SEEDS)
