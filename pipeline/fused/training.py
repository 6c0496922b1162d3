"""Fused training: heads of one architecture, side by side on the same rows, in one pass over stacked parameters."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...heads.base import Head, Inputs
from ...heads.losses import Loss
from ..config.train_config import TrainConfig
from ..training.loop import (
    EVAL_BATCH,
    EpochRecord,
    FitResult,
    Rows,
    TrainingState,
    calibrate_head,
    check_finite,
    check_split,
    epoch_batches,
    make_loss,
    predict_logits,
)
from ..training.optimizer import Step, decay_groups
from .skeleton import copy_of, parameter_names
from .stack import Stack, Trainee, logits_of

# What one batch of all heads depends on; heads that differ here cannot share their batches.
SHARED = ("batch_size", "loss", "gamma", "modality_dropout", "mixup", "seed")


def batch_key(config: TrainConfig) -> Hashable:
    """Equal for trainings that see the same batches and the same kind of loss, so that they can be fused."""
    return (*(getattr(config, name) for name in SHARED), config.balance == "sampler")


def begin(
    heads: Sequence[Head],
    configs: Sequence[TrainConfig],
    inputs: Inputs,
    labels: Tensor,
    *,
    train_rows: Rows,
    valid_rows: Rows,
    views: Sequence[Inputs] = (),
) -> Fused:
    """Untrained heads, ready to train together, in place. Raises ValueError as `fit`, or if they cannot be fused."""
    labels = labels.to(inputs.text.device)
    classes = heads[0].dims.classes
    train, stop = check_split(train_rows, valid_rows, inputs, labels, classes)
    trainees = []
    for head, config in zip(heads, configs, strict=True):
        head.prepare(inputs, labels, train)
        optimizer = Step(*decay_groups(head), config, steps_per_epoch=math.ceil(len(train) / config.batch_size))
        loss = _as_tensors(make_loss(config, labels[train], classes), classes, labels.device)
        trainees.append(Trainee(head, config, optimizer, loss, TrainingState(config)))
    return Fused(trainees, inputs, labels, train_rows=train, valid_rows=stop, views=views)


class Fused:
    """Heads that train together; each ends as `fit` would have left it, whatever trains beside it.

    They have one architecture (dropout rates may differ), configs of one `batch_key`, the same rows, and as many
    epochs behind them. Parameters are stacked, and an optimizer of its own moves each head's rows of them.
    """

    def __init__(
        self,
        trainees: Sequence[Trainee],
        inputs: Inputs,
        labels: Tensor,
        *,
        train_rows: Tensor,
        valid_rows: Tensor,
        views: Sequence[Inputs] = (),
        epoch: int = 0,
    ) -> None:
        if len({batch_key(one.config) for one in trainees}) != 1:
            raise ValueError("fused heads must share their batches: one seed, batch size, loss and augmentation")
        self.trainees, self.inputs, self.labels, self.views = list(trainees), inputs, labels, views
        self.train_rows, self.valid_rows, self.epoch = train_rows, valid_rows, epoch
        self.stack: Stack | None = None  # of the last epoch

    @property
    def over(self) -> bool:
        """Whether every head has ended."""
        return all(one.course.over for one in self.trainees)

    def train(self, until: int) -> None:
        """Train every head that has not ended up to epoch `until`."""
        while self.epoch < until and not self.over:
            self.epoch += 1
            self._train_epoch([one for one in self.trainees if not one.course.over])

    def drop(self, number: int) -> None:
        """Train this head no further."""
        self.trainees[number].course.dropped = True

    def forget(self, number: int) -> None:
        """Drop a head that will not be asked for: its weights and its optimizer leave the memory."""
        self.drop(number)
        self.stack = None
        self.trainees[number].best = []
        self.trainees[number].optimizer.clear()

    def finish(self, number: int) -> tuple[Head, FitResult]:
        """A head with the weights of its best epoch, calibrated, in eval mode; and what was done.

        It is a copy: the one in training goes on as if it had not been looked at. Raises ValueError for a head whose
        loss was not finite.
        """
        one = self.trainees[number]
        if one.error is not None:
            raise one.error
        head = copy_of(one.head).eval()
        with torch.no_grad():
            for name, weight in zip(parameter_names(head), one.best, strict=True):
                head.get_parameter(name).copy_(weight)
        calibrate_head(head, self.inputs, self.labels, self.valid_rows, one.config)
        return head, FitResult(list(one.course.history), one.course.best_epoch)

    def say(self, numbers: Sequence[int], seen: Sequence[Inputs], rows: Rows) -> list[list[NDArray[np.float32]]]:
        """What each of these heads, as `finish` gives it, says of `rows`: logits (n, K) for each of the inputs `seen`.

        None of them may have an error.
        """
        chosen = [self.trainees[number] for number in numbers]
        if all(type(one.head).calibrate is Head.calibrate and not one.config.tune_thresholds for one in chosen):
            heads, weights = [one.head for one in chosen], [one.best for one in chosen]
            where = torch.as_tensor(rows, device=self.labels.device)
            said = [logits_of(heads, weights, inputs, where).cpu().numpy() for inputs in seen]
            return [list(own) for own in zip(*said, strict=True)]
        ended = [self.finish(number)[0] for number in numbers]
        return [[predict_logits(head, inputs, rows).cpu().numpy() for inputs in seen] for head in ended]

    def _train_epoch(self, living: list[Trainee]) -> None:
        started = time.perf_counter()
        if self.stack is None or self.stack.trainees != living:
            self.stack = Stack(living, self.inputs, self.labels)
        stack = self.stack
        config = living[0].config
        shown, batches = epoch_batches(self.inputs, self.views, self.labels, self.train_rows, self.epoch, config)
        trained = stack.learn(shown, batches)
        with ExitStack() as averages:
            for one in living:
                averages.enter_context(one.optimizer.showing_average())
            stopped = stack.look(self.inputs, torch.split(self.valid_rows, EVAL_BATCH))
            seconds = (time.perf_counter() - started) / len(living)
            for place, one in enumerate(living):
                try:
                    check_finite(self.epoch, trained[place]["loss"], stopped[place]["loss"], one.config)
                except ValueError as error:
                    one.error = error
                    one.course.dropped = True
                    continue
                record = EpochRecord(self.epoch, trained[place], stopped[place], one.optimizer.lr, seconds)
                if one.course.add(record):
                    one.keep()


def regroup(heads: Sequence[tuple[Fused, int]]) -> Fused:
    """Heads of several trainings, each by its number there, trained on together; the rows must be the same.

    The trainings that they come from must not go on.
    """
    first = heads[0][0]
    return Fused(
        [fused.trainees[number] for fused, number in heads],
        first.inputs,
        first.labels,
        train_rows=first.train_rows,
        valid_rows=first.valid_rows,
        views=first.views,
        epoch=first.epoch,
    )


def _as_tensors(loss: Loss, classes: int, device: torch.device) -> dict[str, Tensor]:
    """What may differ between the losses of fused heads, as tensors."""
    weight = torch.ones(classes, device=device) if loss.weight is None else loss.weight
    shift = torch.zeros(classes, device=device) if loss.shift is None else loss.shift
    return {"smoothing": torch.tensor(loss.smoothing, device=device), "weight": weight, "shift": shift}
