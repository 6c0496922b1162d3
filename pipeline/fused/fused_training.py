"""Heads of one architecture that train in one pass over stacked parameters, on the same rows."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...heads.base import Head
from ..config.train_config import TrainConfig
from ..data.ragged_inputs import RaggedInputs
from ..data.split import Fold
from ..training.batches import Rows, check_split, eval_batches
from ..training.loop import (
    EpochDone,
    EpochRecord,
    FitResult,
    TrainingState,
    calibrate_head,
    check_finite,
    epoch_batches,
    make_loss,
)
from ..training.losses import Loss
from ..training.optimizer import Step, decay_groups
from ..training.predictions import view_logits
from .skeleton import copy_of, parameter_names
from .stack import FusedHead, Stack, logits_of

# What decides a training's batches and the operations of its step, and is read from the first head's config. Whatever
# differs between fused heads is a tensor of the loss, or is left to a head's own optimizer and TrainingState.
SHARED = ("batch_size", "loss", "gamma", "modality_dropout", "mixup", "seed")


def batch_key(config: TrainConfig) -> Hashable:
    """Equal for trainings that see the same batches and the same kind of loss, so that they can be fused."""
    return (*(getattr(config, name) for name in SHARED), config.balance == "sampler")


class FusedTraining:
    """Trains all heads in one pass over stacked parameters. `errors` tell why a head cannot go on."""

    def __init__(
        self, heads: Sequence[Head], configs: Sequence[TrainConfig], inputs: RaggedInputs, labels: Tensor, fold: Fold
    ) -> None:
        if len(set(map(batch_key, configs))) != 1:
            raise ValueError("fused heads must share their batches: one seed, batch size, loss and augmentation")
        self.labels = labels.to(inputs.device)
        classes = heads[0].dims.classes
        self.train_rows, self.valid_rows = check_split(fold.train, fold.valid, inputs, self.labels, classes)
        self.heads: list[FusedHead] = []
        self.errors: list[ValueError | None] = [None] * len(heads)
        self.epoch = 0
        self.stack: Stack | None = None  # of the last epoch
        for head, config in zip(heads, configs, strict=True):
            head.prepare(inputs.pooled(), self.labels, self.train_rows)
            steps = math.ceil(len(self.train_rows) / config.batch_size)
            optimizer = Step(*decay_groups(head), config, steps_per_epoch=steps)
            loss = _as_tensors(make_loss(config, self.labels[self.train_rows], classes), classes, self.labels.device)
            self.heads.append(FusedHead(head, config, optimizer, loss, TrainingState(config)))

    def train_to(
        self,
        epoch: int,
        inputs: RaggedInputs,
        views: Sequence[RaggedInputs] = (),
        epoch_done: EpochDone = lambda record: None,
    ) -> None:
        """Train every head up to an epoch, unless it has stopped; `epoch_done` gets each record of each head."""
        while self.epoch < epoch and (active := [at for at, one in enumerate(self.heads) if not one.state.over]):
            self.epoch += 1
            self._train_epoch(active, inputs, views)
            for at in (number for number in active if not self.errors[number]):
                epoch_done(self.heads[at].state.history[-1])

    def drop(self, number: int) -> None:
        """Train a head no further, and free the memory of its weights and its optimizer."""
        one = self.heads[number]
        one.state.dropped = True
        one.best = []
        one.optimizer.clear()
        self.stack = None

    def finish(self, number: int, inputs: RaggedInputs) -> tuple[Head, FitResult]:
        """A copy of a head with the weights of its best epoch, calibrated, in eval mode; and what was done.

        Raises ValueError for a head whose loss was not finite.
        """
        if error := self.errors[number]:
            raise error
        one = self.heads[number]
        head = copy_of(one.head).eval()
        with torch.no_grad():
            for name, weight in zip(parameter_names(head), one.best, strict=True):
                head.get_parameter(name).copy_(weight)
        calibrate_head(head, inputs, self.labels, self.valid_rows, one.config)
        return head, FitResult(list(one.state.history), one.state.best_epoch)

    def logits(
        self, numbers: Sequence[int], inputs: RaggedInputs, views: Sequence[RaggedInputs], rows: Rows
    ) -> list[list[NDArray[np.float32]]]:
        """Logits (n, K) of `rows` on each of the views by each of these heads, as `finish` returns it."""
        heads = [self.heads[number] for number in numbers]
        if any(type(one.head).calibrate is not Head.calibrate or one.config.tune_thresholds for one in heads):
            return [view_logits([self.finish(number, inputs)[0]], views, rows) for number in numbers]
        modules, weights = [one.head for one in heads], [one.best for one in heads]
        where = torch.as_tensor(rows, device=self.labels.device)
        of_views = [logits_of(modules, weights, view, where).cpu().numpy() for view in views]
        return [list(own) for own in zip(*of_views, strict=True)]

    def history(self, number: int) -> list[EpochRecord]:
        """The epochs of a head; the seconds of each are its share of the time."""
        return self.heads[number].state.history

    def _train_epoch(self, numbers: Sequence[int], inputs: RaggedInputs, views: Sequence[RaggedInputs]) -> None:
        started = time.perf_counter()
        active = [self.heads[number] for number in numbers]
        if self.stack is None or self.stack.heads != active:
            self.stack = Stack(active, inputs, self.labels)
        config = active[0].config
        shown, batches = epoch_batches(inputs, views, self.labels, self.train_rows, self.epoch, config)
        trained = self.stack.train(shown, batches)
        with ExitStack() as averages:
            for one in active:
                averages.enter_context(one.optimizer.showing_average())
            valid = self.stack.evaluate(inputs, eval_batches(self.valid_rows, inputs))
            seconds = (time.perf_counter() - started) / len(active)
            for place, (number, one) in enumerate(zip(numbers, active, strict=True)):
                try:
                    check_finite(self.epoch, trained[place]["loss"], valid[place]["loss"], one.config)
                except ValueError as error:
                    self.errors[number] = error
                    one.state.dropped = True
                    continue
                if one.state.add(EpochRecord(self.epoch, trained[place], valid[place], one.optimizer.lr, seconds)):
                    one.keep()


def _as_tensors(loss: Loss, classes: int, device: torch.device) -> dict[str, Tensor]:
    """What may differ between the losses of fused heads, as tensors."""
    weight = torch.ones(classes, device=device) if loss.weight is None else loss.weight
    shift = torch.zeros(classes, device=device) if loss.shift is None else loss.shift
    return {"smoothing": torch.tensor(loss.smoothing, device=device), "weight": weight, "shift": shift}
