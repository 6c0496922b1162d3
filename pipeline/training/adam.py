"""Adam and AdamW by torch's fused kernel itself: what torch.optim does around it costs a small head more than it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Call(NamedTuple):
    """One call of the kernel: gradients from `start` to `end` of those that are given move these parameters."""

    decay: float
    start: int
    end: int
    parameters: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]


class Adam:
    """Adam (Kingma & Ba, 2015); `decoupled`: AdamW (Loshchilov & Hutter, 2019). Bit for bit as torch.optim's."""

    def __init__(
        self, decayed: Sequence[nn.Parameter], plain: Sequence[nn.Parameter], *, decay: float, decoupled: bool
    ) -> None:
        self.parameters = [*decayed, *plain]
        self.decays = [decay] * len(decayed) + [0.0] * len(plain)
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
        self.means = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self.squares = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self.calls: dict[Sequence[int], list[Call]] = {}

    def step(
        self,
        gradients: Sequence[Tensor],
        lr: float,
        count: int,
        scale: Tensor | None = None,
        places: tuple[int, ...] | None = None,
    ) -> None:
        """Move every parameter, or those at `places`, by its gradient, laid out as it is, divided by `scale`.

        This is step number `count` of these parameters, counted from 1. To be called where no gradient is kept.
        """
        steps = torch.full((), float(count), device=gradients[0].device)
        for call in self._calls(range(len(self.parameters)) if places is None else places):
            self.kernel(
                call.parameters,
                list(gradients[call.start : call.end]),
                call.means,
                call.squares,
                [],
                [steps] * len(call.means),
                lr=lr,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=call.decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
                grad_scale=scale,
            )

    def _calls(self, places: Sequence[int]) -> list[Call]:
        """What the kernel is called with for these parameters: once for each run of them with one decay."""
        if places not in self.calls:
            runs = [list(run) for _, run in groupby(range(len(places)), key=lambda at: self.decays[places[at]])]
            self.calls[places] = [
                Call(self.decays[places[run[0]]], run[0], run[-1] + 1, *self._at([places[at] for at in run]))
                for run in runs
            ]
        return self.calls[places]

    def _at(self, places: Sequence[int]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        return (
            [self.parameters[place] for place in places],
            [self.means[place] for place in places],
            [self.squares[place] for place in places],
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later `load_state_dict` needs to go on."""
        return {"means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        for own, stored in ((self.means, state["means"]), (self.squares, state["squares"])):
            for moment, value in zip(own, stored, strict=True):
                moment.copy_(value)

    def clear(self) -> None:
        """Free the memory of the moments; there is no step after this one."""
        self.means, self.squares = [], []
        self.calls.clear()


class Sgd:
    """Stochastic gradient descent with Nesterov's momentum, by torch.optim."""

    def __init__(
        self, decayed: Sequence[nn.Parameter], plain: Sequence[nn.Parameter], *, decay: float, momentum: float
    ) -> None:
        groups: list[dict[str, Any]] = [{"params": list(decayed), "weight_decay": decay}, {"params": list(plain)}]
        self.parameters = [*decayed, *plain]
        self.own = torch.optim.SGD(
            [group for group in groups if group["params"]], lr=0.0, momentum=momentum, nesterov=True, fused=True
        )
        self.state_dict, self.load_state_dict = self.own.state_dict, self.own.load_state_dict

    def step(
        self,
        gradients: Sequence[Tensor],
        lr: float,
        count: int,
        scale: Tensor | None = None,
        places: tuple[int, ...] | None = None,
    ) -> None:
        """As `Adam.step`; the number of the step does not matter."""
        chosen = range(len(self.parameters)) if places is None else places
        for parameter in self.parameters:
            parameter.grad = None  # torch.optim moves what has a gradient
        for place, gradient in zip(chosen, gradients, strict=True):
            self.parameters[place].grad = gradient if scale is None else gradient / scale
        for group in self.own.param_groups:
            group["lr"] = lr
        self.own.step()

    def clear(self) -> None:
        """Free the memory of the momenta; there is no step after this one."""
        self.own.state.clear()


def gradient_norms(gradients: Sequence[Tensor]) -> Tensor:
    """The norm (C,) of each head's gradient, of which each tensor (C, …) is a part."""
    parts = [torch.linalg.vector_norm(part.flatten(1), dim=1) for part in gradients]  # each (C,)
    norms: Tensor = torch.linalg.vector_norm(torch.stack(parts), dim=0)
    return norms
