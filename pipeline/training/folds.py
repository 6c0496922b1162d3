"""Training over folds: every head of every experiment, in threads, and the test logits of each fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from ...features.encoders.runtime import available_cores
from ...features.spec import Modality
from ...heads.base import Head
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from ..metrics.probabilities import log_mean
from ..metrics.scores import score
from .epochs import EpochCounter, EpochDone, TrainedEpoch
from .fold_inputs import FoldInputs, InputsCache
from .jobs import Checkpointers, Experiment, HeadJob, list_jobs, new_head
from .loop import EpochRecord, fit, training_threads
from .predictions import view_logits


@dataclass(frozen=True)
class FoldResult:
    """One fold's trained heads and their `logits` (n, K) of its test rows, in the order of `fold.test`.

    `histories` and `best_epochs` have one entry per head. Logits of several heads, or views, are the log of their mean
    probability. `valid_logits` (V, K) are each head's logits of its own validation rows, `valid_rows` (V,).
    """

    fold: Fold
    heads: list[Head]
    reductions: dict[str, Tensor]
    histories: list[list[EpochRecord]]
    best_epochs: list[int]
    logits: NDArray[np.float32]
    metrics: dict[str, float]
    valid_rows: NDArray[np.int64]
    valid_logits: NDArray[np.float32]


def train_folds(
    table: CachedFeatures,
    folds: Sequence[Fold],
    config: HeadConfig,
    training: TrainConfig,
    *,
    without: Modality | None = None,
    device: str = "cpu",
    epoch_done: EpochDone = lambda epoch: None,
    checkpointers: Checkpointers | None = None,
) -> list[FoldResult]:
    """Train one experiment on every fold and test it there; see `Experiment` and `train_experiments`."""
    experiment = Experiment(config, training, without, checkpointers)
    return train_experiments(table, folds, [experiment], device=device, epoch_done=epoch_done)[0]


def train_experiments(
    table: CachedFeatures,
    folds: Sequence[Fold],
    experiments: Sequence[Experiment],
    *,
    device: str = "cpu",
    epoch_done: EpochDone = lambda epoch: None,
    threads: int | None = None,
) -> list[list[FoldResult]]:
    """Train every experiment on every fold and test it there: the results per experiment and fold.

    The experiments must read the same table: one grid of patches, and one number of views or none. `epoch_done` gets
    each epoch of each head, from the thread that trains it. By default a CPU runs as many `threads` as it has cores, a
    GPU one, and so do heads that would wait for one another; no result depends on it. Raises ValueError where they do
    not share it.
    """
    grids = {experiment.config.patches for experiment in experiments if experiment.config.tokens}
    if len(grids) > 1 or len({experiment.config.views for experiment in experiments} - {0}) > 1:
        raise ValueError("heads that train together must share --patches and --views; train them one after another")
    jobs = list_jobs(table, folds, experiments)
    cache = InputsCache(table, [job.inputs_key for job in jobs], device)
    serial = device != "cpu" or all(info.serial for one in experiments for info in one.config.infos)
    counter = EpochCounter(jobs, experiments, len(folds), epoch_done)
    finished: dict[tuple[int, int], dict[int, FoldResult]] = defaultdict(dict)
    results: dict[tuple[int, int], FoldResult] = {}

    def train(job: HeadJob) -> FoldResult:
        with cache.use(job.inputs_key) as fold_inputs:
            return train_member(table, fold_inputs, experiments[job.experiment], job, counter.add)

    with training_threads(1 if device == "cpu" else torch.get_num_threads()), threadpool_limits(1):
        pool = ThreadPoolExecutor(threads or (1 if serial else available_cores()))
        try:
            running = {pool.submit(train, job): job for job in jobs}
            for future in as_completed(running):
                job = running[future]
                name = job.experiment, job.fold
                finished[name][job.member] = future.result()
                counter.end(job)
                if len(finished[name]) == experiments[job.experiment].config.ensemble_size:
                    members = finished.pop(name)
                    results[name] = join_members(table, [members[number] for number in sorted(members)])
        finally:
            counter.cancel()
            pool.shutdown(cancel_futures=True)
    return [[results[number, fold] for fold in range(len(folds))] for number in range(len(experiments))]


def train_member(
    table: CachedFeatures,
    fold_inputs: FoldInputs,
    experiment: Experiment,
    job: HeadJob,
    epoch_done: EpochDone = lambda epoch: None,
) -> FoldResult:
    """Train the head of one job; its result on the fold's test rows and its own validation rows."""
    head, training = new_head(fold_inputs, experiment, job)
    number = job.experiment, job.fold, job.member
    fitted = fit(
        head,
        fold_inputs.inputs,
        fold_inputs.labels,
        train_rows=job.rows.train,
        valid_rows=job.rows.valid,
        config=training,
        views=fold_inputs.views,
        checkpointer=experiment.checkpointers(job.fold, job.member) if experiment.checkpointers else None,
        epoch_done=lambda record: epoch_done(TrainedEpoch(*number, training.epochs, training.metric, record)),
    )
    views = fold_inputs.prediction_views(experiment.config)
    logits, valid_logits = (log_mean(view_logits([head], views, rows)) for rows in (job.rows.test, job.rows.valid))
    return FoldResult(
        fold=job.rows,
        heads=[head],
        reductions=fold_inputs.reductions,
        histories=[fitted.history],
        best_epochs=[fitted.best_epoch],
        logits=logits,
        metrics=score(table.targets()[job.rows.test], logits.argmax(1), table.classes),
        valid_rows=job.rows.valid,
        valid_logits=valid_logits,
    )


def join_members(table: CachedFeatures, members: Sequence[FoldResult]) -> FoldResult:
    """The result of an ensemble from those of its members; its `fold` is the first member's."""
    if len(members) == 1:
        return members[0]
    logits = log_mean([member.logits for member in members])
    return replace(
        members[0],
        heads=[head for member in members for head in member.heads],
        histories=[history for member in members for history in member.histories],
        best_epochs=[epoch for member in members for epoch in member.best_epochs],
        logits=logits,
        metrics=score(table.targets()[members[0].fold.test], logits.argmax(1), table.classes),
        valid_rows=np.concatenate([member.valid_rows for member in members]),
        valid_logits=np.concatenate([member.valid_logits for member in members]),
    )
