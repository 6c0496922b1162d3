"""Chunks of a sweep: heads that train side by side from rung to rung, and their logits there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence, Set
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...heads.base import Head
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from ..fused.training import Training, begin_training
from ..training.fold_inputs import FoldInputs, InputsCache
from ..training.jobs import Experiment, HeadJob, new_head
from ..training.loop import EpochDone, EpochRecord


class TrialHead(NamedTuple):
    """One head of a trial."""

    trial: int
    experiment: Experiment
    job: HeadJob


class HeadResult(NamedTuple):
    """A head at a rung: logits (n, K) of its fold's test rows on each view, the seconds that it has trained for.

    `losses` are its losses on the training and on the validation rows after each epoch.
    """

    logits: list[NDArray[np.float32]]
    seconds: float
    losses: list[tuple[float, float]]


Result = HeadResult | ValueError  # an error is why the head cannot be trained
Trained = Generator[list[tuple[TrialHead, Result]], None, None]  # the results of one chunk after another


class Chunk:
    """Heads that train side by side; a single one trains alone. Between rungs they keep no inputs."""

    def __init__(self, folds: Sequence[Fold], heads: Iterable[TrialHead]) -> None:
        self.folds, self.heads = folds, list(heads)
        self.inputs_key = self.heads[0].job.inputs_key
        self.training: Training | None = None
        self.numbers: dict[int, int] = {}  # the place of a head in `heads` to its number in the training
        self.errors: dict[int, ValueError] = {}

    @property
    def begun(self) -> bool:
        """Whether the chunk has been trained in this process."""
        return self.training is not None or bool(self.errors)

    @property
    def trials(self) -> set[int]:
        """The trials whose heads these are."""
        return {head.trial for head in self.heads}

    def train_to(
        self, epoch: int, active: Set[int], cache: InputsCache, epoch_done: EpochDone = lambda record: None
    ) -> list[tuple[int, Result]]:
        """Train to an epoch, and test the heads of the active trials: results by the place in `heads`."""
        with cache.use(self.inputs_key) as inputs:
            if not self.begun:
                self._begin(inputs)
            if self.training is not None:
                self.training.train_to(epoch, inputs.inputs, inputs.views, epoch_done)
                errors = ((at, self.training.errors[number]) for at, number in self.numbers.items())
                self.errors |= {at: error for at, error in errors if error}
            return self._test(inputs, [at for at, head in enumerate(self.heads) if head.trial in active])

    def keep(self, trials: Set[int]) -> None:
        """Drop the heads of all other trials."""
        for at, number in self.numbers.items():
            if self.heads[at].trial not in trials and self.training is not None:
                self.training.drop(number)

    def _begin(self, inputs: FoldInputs) -> None:
        built: dict[int, tuple[Head, TrainConfig]] = {}
        for at, (_, experiment, job) in enumerate(self.heads):
            try:
                built[at] = new_head(inputs, experiment, job)
            except ValueError as error:
                self.errors[at] = error
        self.numbers = {at: number for number, at in enumerate(built)}
        if built:
            heads, configs = zip(*built.values(), strict=True)
            fold, fused = self.heads[0].job.rows, len(self.heads) > 1
            self.training = begin_training(heads, configs, inputs.inputs, inputs.labels, fold, fused=fused)

    def _test(self, inputs: FoldInputs, places: Sequence[int]) -> list[tuple[int, Result]]:
        results: list[tuple[int, Result]] = [(at, self.errors[at]) for at in places if at in self.errors]
        groups: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for at in places:
            _, experiment, job = self.heads[at]
            if at not in self.errors:
                groups[job.fold, experiment.config.average_views].append(at)
        for (fold, _), group in groups.items():
            assert self.training is not None
            views = inputs.prediction_views(self.heads[group[0]].experiment.config)
            numbers = [self.numbers[at] for at in group]
            logits = self.training.logits(numbers, inputs.inputs, views, self.folds[fold].test)
            histories = map(self.training.history, numbers)
            results += zip(group, map(_result, logits, histories), strict=True)
        return results


def _result(logits: list[NDArray[np.float32]], history: Sequence[EpochRecord]) -> HeadResult:
    losses = [(record.train["loss"], record.valid["loss"]) for record in history]
    return HeadResult(logits, sum(record.seconds for record in history), losses)


class Work(NamedTuple):
    """A chunk to be trained on a table, for its trials that are still active."""

    chunk: Chunk
    active: frozenset[int]
    table: CachedFeatures

    @property
    def pooled(self) -> bool:
        """Whether inputs are the table's pooled vectors themselves, in memory that all processes can share."""
        raw = any(spec.raw for specs in self.table.specs.values() for spec in specs)
        return not (self.chunk.inputs_key.tokens or raw or self.table.storage.mapped)

    def by_head(self, results: Sequence[tuple[int, Result]]) -> list[tuple[TrialHead, Result]]:
        """These results with their heads, for the places of the heads in the chunk."""
        return [(self.chunk.heads[at], result) for at, result in results]
