"""Heads of a chunk end as each would alone, however they are planned."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from experiments import EXPERIMENTS, FOLDS, QUICK, TABLE

from msa.features.encoders.runtime import available_cores
from msa.pipeline.fused.chunks import plan_chunks
from msa.pipeline.metrics.probabilities import log_mean, softmax
from msa.pipeline.sweeps.chunk import Chunk, TrialHead
from msa.pipeline.training.fold_inputs import LatestInputs
from msa.pipeline.training.folds import FoldResult, train_experiments
from msa.pipeline.training.loop import training_threads


@pytest.fixture(scope="module")
def alone() -> list[list[FoldResult]]:
    return train_experiments(TABLE, FOLDS, EXPERIMENTS)


@pytest.mark.parametrize(("threads", "largest"), [(1, 1), (2, 1), (1, 32), (2, 2), (3, 32), (available_cores(), None)])
def test_the_plan_changes_no_result(alone: list[list[FoldResult]], threads: int, largest: int | None) -> None:
    inputs = LatestInputs(TABLE, "cpu")
    logits = defaultdict(list)
    for chunk in plan_chunks(TABLE, FOLDS, EXPERIMENTS, threads=threads, largest=largest).chunks:
        heads = [TrialHead(job.experiment, EXPERIMENTS[job.experiment], job) for job in chunk]
        with training_threads(1):
            results = Chunk(FOLDS, heads).train_to(QUICK.epochs, set(range(len(EXPERIMENTS))), inputs)
        for at, found in results:
            assert not isinstance(found, ValueError)
            logits[chunk[at].experiment, chunk[at].fold] += found.logits
    for number, results in enumerate(alone):
        for fold, result in enumerate(results):
            together = log_mean(logits[number, fold])
            assert np.abs(softmax(together) - softmax(result.logits)).max() < 1e-3
            assert (together.argmax(1) == result.logits.argmax(1)).mean() >= 0.999
