"""What follows the loss of a batch: backward, clip, optimizer step, learning rate, averaged weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..config.train_config import TrainConfig
from .adam import FusedAdam, TorchOptimizer

MOMENTUM = 0.9  # of SGD, in Nesterov's form


class Step:
    """Takes one training step after another. `lr` is the rate of the last one, `count` the number of steps so far.

    `decayed` are the parameters with weight decay, `plain` the others (see `decay_groups`).
    """

    def __init__(
        self,
        decayed: Sequence[nn.Parameter],
        plain: Sequence[nn.Parameter],
        config: TrainConfig,
        *,
        steps_per_epoch: int,
    ) -> None:
        self.config, self.steps_per_epoch = config, steps_per_epoch
        self.parameters = [*decayed, *plain]
        self.optimizer = make_optimizer(decayed, plain, config)
        self.count, self.lr, self.averaged = 0, config.lr, 0
        self.average = [p.detach().clone() for p in self.parameters] if config.average != "none" else []

    def __call__(self, loss: Tensor) -> None:
        """Learn from the loss of a batch."""
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        with torch.no_grad():
            self.move([parameter.grad for parameter in self.parameters if parameter.grad is not None])

    def move(self, gradients: Sequence[Tensor]) -> None:
        """Move the parameters by their gradients. To be called where no gradient is tracked.

        The trainings of `fit` and of fused heads both end here, but each clips by itself: whatever else changes how
        parameters are moved belongs here.
        """
        self.lr = self.config.rate(self.count, self.steps_per_epoch)
        self.optimizer.step(gradients, self.lr, self.count + 1)
        self.count += 1
        share = average_share(self.config, self.count, self.steps_per_epoch, self.averaged)
        if share:
            self.averaged += 1
            for kept, parameter in zip(self.average, self.parameters, strict=True):
                kept.lerp_(parameter, share)

    @contextmanager
    def showing_average(self) -> Iterator[None]:
        """Inside, the model has its averaged weights, once there are any."""
        if not self.averaged:
            yield
            return
        own = [p.detach().clone() for p in self.parameters]
        self._show(self.average)
        try:
            yield
        finally:
            self._show(own)

    @torch.no_grad()
    def _show(self, weights: list[Tensor]) -> None:
        for parameter, weight in zip(self.parameters, weights, strict=True):
            parameter.copy_(weight)

    def clear(self) -> None:
        """Free the memory of parameters, moments and averages; there is no step after this one."""
        self.optimizer.clear()
        self.average = []
        for parameter in self.parameters:
            parameter.data, parameter.grad = parameter.new_empty(0), None

    def state(self) -> dict[str, Any]:
        """Everything that a later `restore` needs to go on."""
        counts = {"count": self.count, "lr": self.lr, "averaged": self.averaged}
        return counts | {"optimizer": self.optimizer.state_dict(), "average": self.average}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.count, self.lr, self.averaged = state["count"], state["lr"], state["averaged"]
        self.optimizer.load_state_dict(state["optimizer"])
        for kept, stored in zip(self.average, state["average"], strict=True):
            kept.copy_(stored)


def average_share(config: TrainConfig, step: int, steps_per_epoch: int, averaged: int) -> float:
    """How far the averaged weights move to the present ones after step `step` (counted from 1); 0: not at all.

    `averaged` is how often they have moved before. The first moves of "ema" are larger, so that the start is forgotten.
    """
    if config.average == "ema":
        return 1 - min(config.decay, (1 + step) / (10 + step))
    ends_epoch = step % steps_per_epoch == 0
    if config.average == "swa" and ends_epoch and step > config.epochs * steps_per_epoch / 2:
        return 1 / (averaged + 1)
    return 0.0


def decay_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The model's matrices, which are decayed, and its biases, norms and null vectors, which are not."""
    parameters = list(model.parameters())
    return [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]


def make_optimizer(
    decayed: Sequence[nn.Parameter], plain: Sequence[nn.Parameter], config: TrainConfig
) -> FusedAdam | TorchOptimizer:
    """The optimizer of a config; Adam by torch.optim where torch lacks its private kernels."""
    decay, decoupled = config.weight_decay, config.optimizer == "adamw"
    if config.optimizer == "sgd":
        options = {"momentum": MOMENTUM, "nesterov": True, "fused": True}
        return TorchOptimizer(torch.optim.SGD, decayed, plain, decay=decay, **options)
    if hasattr(torch, "_fused_adamw_") and hasattr(torch, "_fused_adam_"):
        return FusedAdam(decayed, plain, decay=decay, decoupled=decoupled)
    return TorchOptimizer(torch.optim.AdamW if decoupled else torch.optim.Adam, decayed, plain, decay=decay)
