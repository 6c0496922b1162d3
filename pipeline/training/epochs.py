"""Epochs as they are trained, head by head: for callbacks, and for whoever watches the command."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import NamedTuple

from ...features.progress import detail, step
from ..metrics.tables import metric_title
from .jobs import Experiment, HeadJob, epochs_of
from .loop import EpochRecord


class TrainedEpoch(NamedTuple):
    """An epoch that a head has finished: of which experiment, fold and ensemble member, and its losses and metrics.

    `metric` names what picks the best epoch; the epochs are at most `epochs`, fewer with early stopping.
    """

    experiment: int
    fold: int
    member: int
    epochs: int
    metric: str
    record: EpochRecord


EpochDone = Callable[[TrainedEpoch], None]


class EpochCounter:
    """Counts the epochs of these jobs, of `folds` folds each, as one step; passes each on to `epoch_done`.

    Heads train in threads; all methods may be called from any of them.
    """

    def __init__(
        self, jobs: Sequence[HeadJob], experiments: Sequence[Experiment], folds: int, epoch_done: EpochDone
    ) -> None:
        self.folds, self.epoch_done = folds, epoch_done
        self.left = {job[:3]: epochs_of(experiments[job.experiment], job.member) for job in jobs}  # of each head
        self.done, self.total = 0, sum(self.left.values())
        self.lock, self.cancelled = threading.Lock(), threading.Event()
        step("epochs", 0, self.total, "epochs")

    def add(self, epoch: TrainedEpoch) -> None:
        """Count an epoch. Raises CancelledError once `cancel` was called, so that the head's training ends."""
        if self.cancelled.is_set():
            raise CancelledError("the training was cancelled")
        self._count(epoch[:3], 1)
        record = epoch.record
        figures = [
            f"fold {epoch.fold + 1}/{self.folds}",
            f"epoch {record.epoch}/{epoch.epochs}",
            f"loss {record.train['loss']:.3f}",
            f"validation loss {record.valid['loss']:.3f}",
        ]
        shown = "accuracy" if epoch.metric == "loss" else epoch.metric
        detail(" · ".join([*figures, f"{metric_title(shown)} {record.valid[shown]:.3f}"]))
        self.epoch_done(epoch)

    def end(self, job: HeadJob) -> None:
        """Count the epochs that a head needed no more."""
        self._count(job[:3], self.left[job[:3]])

    def cancel(self) -> None:
        """End every training after its current epoch."""
        self.cancelled.set()

    def _count(self, head: tuple[int, int, int], epochs: int) -> None:
        with self.lock:
            self.left[head] -= epochs
            self.done += epochs
            step("epochs", self.done, self.total, "epochs")
