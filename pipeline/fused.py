"""Fused training: heads of one architecture, side by side on the same rows, in one pass over stacked parameters."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Hashable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ..heads.base import Head, Inputs
from ..heads.dropout import dropouts, set_dropout
from ..heads.losses import Loss, as_targets
from .augment import augment
from .batches import take
from .evaluate import score
from .optimise import Step, decay_groups
from .train import (
    EVAL_BATCH,
    Course,
    EpochRecord,
    FitResult,
    Rows,
    check_finite,
    check_split,
    epoch_batches,
    finish,
    make_loss,
)
from .train_config import TrainConfig

# What one batch of all heads depends on; heads that differ here cannot share their batches.
SHARED = ("batch_size", "loss", "gamma", "modality_dropout", "mixup", "seed")


def batch_key(config: TrainConfig) -> Hashable:
    """Equal for trainings that see the same batches and the same kind of loss, so that they can be fused."""
    return (*(getattr(config, name) for name in SHARED), config.balance == "sampler")


class Fused:
    """Heads that train together; each ends as `fit` would have left it, whatever trains beside it.

    They have one architecture (dropout rates may differ), configs of one `batch_key`, and the same rows. Each row of
    a stacked matrix holds all parameters of one head, its decayed ones first, so that an optimiser of its own moves it.
    """

    def __init__(
        self,
        heads: Sequence[Head],
        configs: Sequence[TrainConfig],
        inputs: Inputs,
        labels: Tensor,
        *,
        train_rows: Rows,
        stop_rows: Rows,
        views: Sequence[Inputs] = (),
    ) -> None:
        if len({batch_key(config) for config in configs}) != 1 or len(heads) != len(configs):
            raise ValueError("fused heads must share their batches: one seed, batch size, loss and augmentation")
        self.heads, self.configs, self.inputs, self.views = list(heads), list(configs), inputs, views
        self.labels = labels.to(inputs.text.device)
        self.classes = heads[0].dims.classes
        self.train_rows, self.stop_rows = check_split(train_rows, stop_rows, inputs, self.labels, self.classes)
        self.steps = math.ceil(len(self.train_rows) / configs[0].batch_size)
        self.courses = [Course(config) for config in configs]
        self.best: list[Tensor] = [torch.empty(0)] * len(heads)
        self.places = _places(heads[0])
        self.split = sum(p.numel() for p in decay_groups(heads[0])[0])
        self.weights = [_flatten(head, list(self.places)) for head in heads]
        self.optimisers = list(map(self._optimiser, self.weights, configs))
        self.skeleton = Parts(copy.deepcopy(heads[0]))
        for layer in dropouts(self.skeleton):
            layer.p = 1.0  # so that the layer looks at its rate, which may be 0 for one head and not for another
        losses = [make_loss(config, self.labels[self.train_rows], self.classes) for config in configs]
        self.losses = [_as_tensors(loss, self.classes, self.labels.device) for loss in losses]
        self.epoch = 0

    def _optimiser(self, weights: Tensor, config: TrainConfig) -> Step:
        decayed, plain = (
            [nn.Parameter(part)] if part.numel() else [] for part in (weights[: self.split], weights[self.split :])
        )
        return Step(decayed, plain, config, steps_per_epoch=self.steps)

    @property
    def over(self) -> bool:
        """Whether every head has ended."""
        return all(course.over for course in self.courses)

    def train(self, until: int) -> None:
        """Train every head that has not ended up to epoch `until`."""
        while self.epoch < until and (alive := [n for n, course in enumerate(self.courses) if not course.over]):
            self.epoch += 1
            self._train_epoch(alive)

    def drop(self, number: int) -> None:
        """Train this head no further."""
        self.courses[number].dropped = True

    def finish(self, number: int) -> tuple[Head, FitResult]:
        """One head with the weights of its best epoch, calibrated, in eval mode; and what was done."""
        head, course, config = self.heads[number], self.courses[number], self.configs[number]
        with torch.no_grad():
            for name, parameter in head.named_parameters():
                start, end = self.places[name]
                parameter.copy_(self.best[number][start:end].view_as(parameter))
        finish(head.eval(), self.inputs, self.labels, self.stop_rows, config)
        return head, FitResult(course.history, course.best_epoch, len(course.history) < config.epochs)

    def _train_epoch(self, alive: list[int]) -> None:
        started = time.perf_counter()
        stack = Stack(self, alive)
        config = self.configs[alive[0]]
        shown, batches = epoch_batches(self.inputs, self.views, self.labels, self.train_rows, self.epoch, config)
        trained = stack.run(shown, batches, learn=True)
        with ExitStack() as averages:
            for number in alive:
                averages.enter_context(self.optimisers[number].showing_average())
            stopped = stack.run(self.inputs, torch.split(self.stop_rows, EVAL_BATCH), learn=False)
            seconds = (time.perf_counter() - started) / len(alive)
            for place, number in enumerate(alive):
                lr = self.optimisers[number].lr
                check_finite(self.epoch, trained[place]["loss"], stopped[place]["loss"], self.configs[number])
                record = EpochRecord(self.epoch, trained[place], stopped[place], lr, seconds)
                if self.courses[number].add(record):
                    self.best[number] = self.weights[number].clone()


class Stack:
    """The heads of one epoch: a matrix with a row of parameters for each, and their gradients."""

    def __init__(self, fused: Fused, alive: Sequence[int]) -> None:
        self.fused, self.alive = fused, list(alive)
        matrix = torch.stack([fused.weights[number] for number in alive])  # (C, parameters)
        gradient = torch.zeros_like(matrix)
        for row, number in enumerate(alive):  # the optimisers move the rows of the matrix itself
            fused.weights[number] = matrix[row]
            halves = (slice(None, fused.split), slice(fused.split, None))
            pieces = [half for half in halves if matrix[row, half].numel()]
            for parameter, piece in zip(fused.optimisers[number].parameters, pieces, strict=True):
                parameter.data, parameter.grad = matrix[row, piece], gradient[row, piece]
        self.parameters: dict[str, Tensor] = {}
        self.gradients: list[Tensor] = []  # where each parameter's gradient goes, which the optimisers read
        shapes = {name: parameter.shape for name, parameter in fused.heads[0].named_parameters()}
        for name, (start, end) in fused.places.items():
            leaf = matrix[:, start:end].view(-1, *shapes[name]).detach().requires_grad_()
            self.parameters[f"head.{name}"] = leaf
            self.gradients.append(gradient[:, start:end].view(leaf.shape))
        self.buffers = dict(fused.skeleton.named_buffers())
        rates = [[layer.rate for layer in dropouts(fused.heads[number])] for number in alive]
        names = [name for name in self.buffers if name.endswith(".rate")]
        self.stacked = {name: torch.stack([of[k] for of in rates]) for k, name in enumerate(names)}
        self.loss = _stack_losses([fused.losses[number] for number in alive])

    def run(self, inputs: Inputs, batches: Sequence[Tensor], *, learn: bool) -> list[dict[str, float]]:
        """One pass over batches of row numbers for all heads: each one's mean loss and metrics."""
        fused, classes = self.fused, self.fused.classes
        fused.skeleton.train(learn)
        config = fused.configs[self.alive[0]]
        losses, guesses, truths = [], [], []
        dims = {name: 0 if name in self.stacked else None for name in self.buffers}
        together = vmap(self._loss, in_dims=(0, dims, 0, None, None))
        for rows in batches:
            batch, targets = take(inputs, rows), as_targets(fused.labels[rows], classes)
            if learn:
                count = fused.optimisers[self.alive[0]].count
                set_dropout(fused.skeleton, seed=config.seed, step=count)
                batch, targets = augment(batch, targets, config, count)
            with torch.set_grad_enabled(learn):
                buffers = dict(fused.skeleton.named_buffers()) | self.stacked
                values, chosen = together(self.parameters, buffers, self.loss, batch, targets)
            if learn:
                found = torch.autograd.grad(values.sum(), list(self.parameters.values()))
                for place, part in zip(self.gradients, found, strict=True):
                    place.copy_(part)
                for number in self.alive:
                    fused.optimisers[number].apply()
            losses.append(values.detach() * len(rows))
            guesses.append(chosen)
            truths.append(fused.labels[rows])
        truth, said = torch.cat(truths).cpu().numpy(), torch.cat(guesses, 1).cpu().numpy()
        means = torch.stack(losses).sum(0).cpu().numpy() / len(truth)
        pairs = zip(means, said, strict=True)
        return [{"loss": float(mean), **score(truth, guess, range(classes))} for mean, guess in pairs]

    def _loss(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        loss: dict[str, Tensor],
        batch: Inputs,
        targets: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One head's loss and its guesses (B,); under vmap, all heads' at once."""
        config = self.fused.configs[0]
        parts, logits = functional_call(self.fused.skeleton, (parameters, buffers), (batch,))
        criterion = Loss(config.loss, gamma=config.gamma, **loss)  # type: ignore[arg-type]
        value = criterion(parts.flatten(0, 1), targets.repeat(parts.shape[0], 1))
        return value, logits.detach().argmax(-1)


class Parts(nn.Module):
    """A head whose forward pass gives what training looks at, and its logits."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Map inputs to parts (M, B, K) and logits (B, K)."""
        parts = self.head.parts(inputs)
        return parts, parts[0] if parts.shape[0] == 1 else self.head(inputs)


def _places(head: Head) -> dict[str, tuple[int, int]]:
    """Where each parameter lies in a head's row: those that are decayed first."""
    decayed, plain = decay_groups(head)
    names = {id(parameter): name for name, parameter in head.named_parameters()}
    places, at = {}, 0
    for parameter in (*decayed, *plain):
        places[names[id(parameter)]] = (at, at + parameter.numel())
        at += parameter.numel()
    return places


def _flatten(head: Head, names: Sequence[str]) -> Tensor:
    parameters = dict(head.named_parameters())
    return torch.cat([parameters[name].detach().flatten() for name in names])


def _as_tensors(loss: Loss, classes: int, device: torch.device) -> dict[str, Tensor]:
    """What may differ between the losses of fused heads, as tensors."""
    weight = torch.ones(classes, device=device) if loss.weight is None else loss.weight
    shift = torch.zeros(classes, device=device) if loss.shift is None else loss.shift
    return {"smoothing": torch.tensor(loss.smoothing, device=device), "weight": weight, "shift": shift}


def _stack_losses(losses: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([loss[name] for loss in losses]) for name in losses[0]}
