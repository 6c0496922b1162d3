"""Fused training: heads of one architecture, side by side on the same rows, in one pass over stacked parameters."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from itertools import islice

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ..heads.base import Head, Inputs
from ..heads.dropout import dropouts, set_dropout
from ..heads.losses import Loss, as_targets
from .adam import gradient_norms
from .augment import augment
from .batches import take
from .evaluate import score
from .optimise import Step, decay_groups
from .recorded import replay, structure
from .shared_linear import share_linears
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

    They have one architecture (dropout rates may differ), configs of one `batch_key`, and the same rows. Parameters
    are stacked, and an optimiser of its own moves each head's rows of them.
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
        self.best: list[list[Tensor]] = [[]] * len(heads)
        self.failed: dict[int, ValueError] = {}
        for head in heads:
            head.prepare(inputs, self.train_rows)
        self.names = _names(heads[0])
        self.optimisers = list(map(self._optimiser, heads, configs))
        self.skeleton = Parts(copy.deepcopy(heads[0]))
        share_linears(self.skeleton)
        for layer in dropouts(self.skeleton):
            layer.p = 1.0  # so that the layer looks at its rate, which may be 0 for one head and not for another
        self.own_buffers = _own_buffers(heads)
        losses = [make_loss(config, self.labels[self.train_rows], self.classes) for config in configs]
        self.losses = [_as_tensors(loss, self.classes, self.labels.device) for loss in losses]
        self.epoch = 0

    def _optimiser(self, head: Head, config: TrainConfig) -> Step:
        decayed, plain = ([nn.Parameter(p.detach().clone()) for p in part] for part in decay_groups(head))
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

    def forget(self, number: int) -> None:
        """Drop a head that will not be asked for: its weights and its optimiser leave the memory."""
        self.drop(number)
        self.best[number] = []
        self.optimisers[number].clear()

    def finish(self, number: int) -> tuple[Head, FitResult]:
        """One head with the weights of its best epoch, calibrated, in eval mode; and what was done.

        The others, and this one if it has not ended, train on as if it had not been looked at. Raises ValueError for a
        head whose loss was not finite.
        """
        if number in self.failed:
            raise self.failed[number]
        head, course, config = self.heads[number], self.courses[number], self.configs[number]
        with torch.no_grad():
            for name, weight in zip(self.names, self.best[number], strict=True):
                head.get_parameter(name).copy_(weight)
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
                try:
                    check_finite(self.epoch, trained[place]["loss"], stopped[place]["loss"], self.configs[number])
                except ValueError as error:
                    self.failed[number] = error
                    self.drop(number)
                    continue
                record = EpochRecord(self.epoch, trained[place], stopped[place], lr, seconds)
                if self.courses[number].add(record):
                    self.best[number] = [parameter.detach().clone() for parameter in self.optimisers[number].parameters]


class Stack:
    """The heads of one epoch: each parameter stacked, of which the optimisers move the rows."""

    def __init__(self, fused: Fused, alive: Sequence[int]) -> None:
        self.fused, self.alive = fused, list(alive)
        self.parameters: dict[str, Tensor] = {}
        for place, name in enumerate(fused.names):
            mine = [fused.optimisers[number].parameters[place] for number in alive]
            stacked = torch.stack([parameter.detach() for parameter in mine])
            for parameter, row in zip(mine, stacked.unbind(), strict=True):
                parameter.data = row
            self.parameters[f"head.{name}"] = stacked
        whole = len(self.alive) == len(fused.heads)
        self.stacked = {f"head.{name}": of if whole else of[self.alive] for name, of in fused.own_buffers.items()}
        clips = [fused.configs[number].clip or math.inf for number in alive]
        self.clips = torch.tensor(clips, device=fused.labels.device)
        self.loss = _stack_losses([fused.losses[number] for number in alive])
        dims = {name: 0 if name in self.stacked else None for name, _ in fused.skeleton.named_buffers()}
        self._together = vmap(self._loss, in_dims=(0, dims, 0, None, None))
        config = fused.configs[0]
        self.kind = structure(fused.skeleton), config.loss, config.gamma, tuple(self.stacked)

    def run(self, inputs: Inputs, batches: Sequence[Tensor], *, learn: bool) -> list[dict[str, float]]:
        """One pass over batches of row numbers for all heads: each one's mean loss and metrics."""
        fused, classes = self.fused, self.fused.classes
        fused.skeleton.train(learn)
        config = fused.configs[self.alive[0]]
        losses, guesses, truths = [], [], []
        for chosen in batches:
            batch, targets = take(inputs, chosen), as_targets(fused.labels[chosen], classes)
            if learn:
                count = fused.optimisers[self.alive[0]].count
                set_dropout(fused.skeleton, seed=config.seed, step=count)
                batch, targets = augment(batch, targets, config, count)
            buffers = dict(fused.skeleton.named_buffers()) | self.stacked
            if learn:
                values, said, norms, *gradients = self._step(buffers, batch, targets)
                self._learn(gradients, norms)
            else:
                with torch.no_grad():
                    values, said = self._together(self.parameters, buffers, self.loss, batch, targets)
            losses.append(values.detach() * len(chosen))
            guesses.append(said)
            truths.append(fused.labels[chosen])
        truth, answers = torch.cat(truths).cpu().numpy(), torch.cat(guesses, 1).cpu().numpy()
        means = torch.stack(losses).sum(0).cpu().numpy() / len(truth)
        pairs = zip(means, answers, strict=True)
        return [{"loss": float(mean), **score(truth, guess, range(classes))} for mean, guess in pairs]

    def _step(self, buffers: dict[str, Tensor], batch: Inputs, targets: Tensor) -> Sequence[Tensor]:
        """Every head's loss (C,), guesses (C, B), norm of the gradient (C,), and the gradient of each parameter."""
        names, kinds = list(self.parameters), list(buffers)

        def step(*arguments: Tensor) -> list[Tensor]:
            given = iter(arguments)
            parameters = {name: next(given).detach().requires_grad_() for name in names}
            buffers = {name: next(given) for name in kinds}
            loss = {name: next(given) for name in self.loss}
            values, said = self._together(parameters, buffers, loss, Inputs(*islice(given, 4)), next(given))
            raw = torch.autograd.grad(values.sum(), list(parameters.values()))
            gradients = [part.contiguous() for part in raw]  # laid out as the optimisers read it
            return [values.detach(), said, gradient_norms(gradients), *gradients]

        given = (*self.parameters.values(), *buffers.values(), *self.loss.values(), *batch, targets)
        return replay(self.kind, step, [tensor.detach() for tensor in given])

    def _learn(self, gradients: Sequence[Tensor], norms: Tensor) -> None:
        """Let each head's optimiser move its rows by its part of the gradients (C, …), clipped."""
        excess = (norms + 1e-6) / self.clips  # (C,)
        scales = [scale if too_long else None for scale, too_long in zip(excess, (excess > 1).tolist(), strict=True)]
        parts = zip(*(part.unbind() for part in gradients), strict=True)
        for number, scale, own in zip(self.alive, scales, parts, strict=True):
            self.fused.optimisers[number].apply(own, scale)

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


def _names(head: Head) -> list[str]:
    """A head's parameters in the order of `decay_groups`."""
    names = {id(parameter): name for name, parameter in head.named_parameters()}
    return [names[id(parameter)] for part in decay_groups(head) for parameter in part]


def _own_buffers(heads: Sequence[Head]) -> dict[str, Tensor]:
    """The buffers in which heads differ, one below another. Keys of dropout are all heads' in common."""
    buffers = [dict(head.named_buffers()) for head in heads]
    return {
        name: torch.stack([of[name] for of in buffers])
        for name, first in buffers[0].items()
        if not name.endswith(".key") and any(not torch.equal(of[name], first) for of in buffers)
    }


def _as_tensors(loss: Loss, classes: int, device: torch.device) -> dict[str, Tensor]:
    """What may differ between the losses of fused heads, as tensors."""
    weight = torch.ones(classes, device=device) if loss.weight is None else loss.weight
    shift = torch.zeros(classes, device=device) if loss.shift is None else loss.shift
    return {"smoothing": torch.tensor(loss.smoothing, device=device), "weight": weight, "shift": shift}


def _stack_losses(losses: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([loss[name] for loss in losses]) for name in losses[0]}
