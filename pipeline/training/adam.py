"""Optimizers that move all parameters by given gradients: torch's fused kernel for Adam, else torch.optim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

BETAS, EPSILON = (0.9, 0.999), 1e-8


class FusedAdam:
    """Adam (Kingma & Ba, 2015); `decoupled`: AdamW (Loshchilov & Hutter, 2019). Bit for bit as torch.optim's fused one.

    It calls torch's kernel itself, since what torch.optim does around the kernel takes longer for a small head.
    """

    def __init__(
        self, decayed: Sequence[nn.Parameter], plain: Sequence[nn.Parameter], *, decay: float, decoupled: bool
    ) -> None:
        self.kernel: Any = torch._fused_adamw_ if decoupled else torch._fused_adam_
        self.options = {"beta1": BETAS[0], "beta2": BETAS[1], "eps": EPSILON, "amsgrad": False, "maximize": False}
        self.groups = [(list(own), value) for own, value in ((decayed, decay), (plain, 0.0)) if own]
        self.means, self.squares = (
            [[torch.zeros_like(p, requires_grad=False) for p in own] for own, _ in self.groups] for _ in range(2)
        )

    def step(self, gradients: Sequence[Tensor], lr: float, count: int) -> None:
        """Move every parameter by its gradient, of the same layout: decayed ones first. No gradient must be tracked.

        This is step number `count`, counted from 1.
        """
        steps, rest = torch.full((), float(count), device=gradients[0].device), list(gradients)
        for (own, decay), means, squares in zip(self.groups, self.means, self.squares, strict=True):
            mine, rest = rest[: len(own)], rest[len(own) :]
            counts = [steps] * len(own)
            self.kernel(own, mine, means, squares, [], counts, lr=lr, weight_decay=decay, **self.options)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later `load_state_dict` needs to go on."""
        return {"means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        for own, stored in ((self.means, state["means"]), (self.squares, state["squares"])):
            for moments, values in zip(own, stored, strict=True):
                for moment, value in zip(moments, values, strict=True):
                    moment.copy_(value)

    def clear(self) -> None:
        """Free the memory of the moments; there is no step after this one."""
        self.groups, self.means, self.squares = [], [], []


class TorchOptimizer:
    """An optimizer of torch.optim, given by its class and options, with the methods of `FusedAdam`."""

    def __init__(
        self,
        kind: type[torch.optim.Optimizer],
        decayed: Sequence[nn.Parameter],
        plain: Sequence[nn.Parameter],
        *,
        decay: float,
        **options: Any,
    ) -> None:
        groups = [
            {"params": list(own), "weight_decay": value} for own, value in ((decayed, decay), (plain, 0.0)) if own
        ]
        self.parameters = [*decayed, *plain]
        self.own = kind(groups, **{"lr": 0.0, **options})
        self.state_dict, self.load_state_dict = self.own.state_dict, self.own.load_state_dict

    def step(self, gradients: Sequence[Tensor], lr: float, count: int) -> None:
        """As `FusedAdam.step`; torch.optim counts for itself."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        for group in self.own.param_groups:
            group["lr"] = lr
        self.own.step()

    def clear(self) -> None:
        """Free the memory of the moments; there is no step after this one."""
        self.own.state.clear()
