"""Training over folds: every head of every experiment, in threads, and the test logits of each fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ...features.encoders.runtime import available_cores
from ...features.spec import Modality
from ...heads.base import Head
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures
from ..data.inputs import Reduction
from ..data.split import Fold
from ..metrics.probabilities import log_mean
from ..metrics.scores import score
from .fold_inputs import FoldInputs, InputsCache
from .fold_result import FoldResult
from .jobs import Checkpointers, Experiment, HeadJob, list_jobs, new_head
from .loop import FitResult, fit, training_threads
from .predictions import view_logits

FoldDone = Callable[[int, int], None]


class TrainedMember(NamedTuple):
    """One trained head of a fold: its logits (n, K) of the test rows in each view, and of its validation rows."""

    rows: Fold
    head: Head
    fitted: FitResult
    logits: list[NDArray[np.float32]]
    valid_logits: NDArray[np.float32]
    reductions: dict[str, Reduction]


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
    """Train one experiment on every fold and test it there; see `Experiment` and `train_experiments`."""
    experiment = Experiment(config, training, without, checkpointers)
    return train_experiments(table, folds, [experiment], device=device, done=done)[0]


def train_experiments(
    table: CachedFeatures,
    folds: Sequence[Fold],
    experiments: Sequence[Experiment],
    *,
    device: str = "cpu",
    done: FoldDone = lambda number, total: None,
    threads: int | None = None,
) -> list[list[FoldResult]]:
    """Train every experiment on every fold and test it there: the results per experiment and fold.

    The experiments must read the same table: one grid of patches and one number of views. `done` gets the number of
    finished folds and their total, over all experiments. By default a CPU runs as many `threads` as it has cores, a
    GPU one; no result depends on it.
    """
    grids = {experiment.config.patches for experiment in experiments if experiment.config.tokens}
    if len(grids) > 1 or len({experiment.config.views for experiment in experiments}) > 1:
        raise ValueError("heads that train together must share --patches and --views; train them one after another")
    jobs = list_jobs(table, folds, experiments)
    cache = InputsCache(table, [job.inputs_key for job in jobs], device)
    finished: dict[tuple[int, int], dict[int, TrainedMember]] = defaultdict(dict)
    results: dict[tuple[int, int], FoldResult] = {}

    def train(job: HeadJob) -> TrainedMember:
        with cache.use(job.inputs_key) as fold_inputs:
            return train_member(fold_inputs, experiments[job.experiment], job)

    with training_threads(1 if device == "cpu" else torch.get_num_threads()):
        pool = ThreadPoolExecutor(threads or (available_cores() if device == "cpu" else 1))
        try:
            running = {pool.submit(train, job): job for job in jobs}
            for future in as_completed(running):
                job = running[future]
                name = job.experiment, job.fold
                finished[name][job.member] = future.result()
                if len(finished[name]) == experiments[job.experiment].config.ensemble_size:
                    members = finished.pop(name)
                    results[name] = assemble(table, folds[job.fold], [members[number] for number in sorted(members)])
                    done(len(results), len(experiments) * len(folds))
        finally:
            pool.shutdown(cancel_futures=True)
    return [[results[number, fold] for fold in range(len(folds))] for number in range(len(experiments))]


def train_member(fold_inputs: FoldInputs, experiment: Experiment, job: HeadJob) -> TrainedMember:
    """Train the head of one job, and predict the fold's test rows and the head's own validation rows."""
    head, training = new_head(fold_inputs, experiment, job)
    fitted = fit(
        head,
        fold_inputs.inputs,
        fold_inputs.labels,
        train_rows=job.rows.train,
        valid_rows=job.rows.valid,
        config=training,
        views=fold_inputs.views,
        checkpointer=experiment.checkpointers(job.fold, job.member) if experiment.checkpointers else None,
    )
    views = fold_inputs.prediction_views(experiment.config)
    valid_logits = log_mean(view_logits([head], views, job.rows.valid))
    return TrainedMember(
        job.rows, head, fitted, view_logits([head], views, job.rows.test), valid_logits, fold_inputs.reductions
    )


def assemble(table: CachedFeatures, fold: Fold, members: Sequence[TrainedMember]) -> FoldResult:
    """One fold's result from the heads that were trained for it."""
    logits = log_mean([one for member in members for one in member.logits])
    return FoldResult(
        fold,
        [member.head for member in members],
        members[0].reductions,
        [member.fitted.history for member in members],
        [member.fitted.best_epoch for member in members],
        logits,
        score(table.targets()[fold.test], logits.argmax(1), table.classes),
        np.concatenate([member.rows.valid for member in members]),
        np.concatenate([member.valid_logits for member in members]),
    )
