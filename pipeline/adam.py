"""Adam and AdamW by torch's fused kernel itself: what torch.optim does around it costs a small head more than it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Adam:
    """Adam (Kingma & Ba, 2015); `decoupled`: AdamW (Loshchilov & Hutter, 2019). Bit for bit as torch.optim's."""

    def __init__(
        self, decayed: Sequence[nn.Parameter], plain: Sequence[nn.Parameter], *, decay: float, decoupled: bool
    ) -> None:
        self.groups = [(list(group), rate) for group, rate in ((decayed, decay), (plain, 0.0)) if group]
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
        self.means = [[torch.zeros_like(p, requires_grad=False) for p in group] for group, _ in self.groups]
        self.squares = [[torch.zeros_like(p, requires_grad=False) for p in group] for group, _ in self.groups]
        self.count = 0

    def step(self, gradients: Sequence[Tensor], lr: float, scale: Tensor | None = None) -> None:
        """Move every parameter by its gradient, laid out as the parameter is, divided by `scale` (one number).

        To be called where no gradient is kept.
        """
        self.count += 1
        count = torch.full((), float(self.count), device=gradients[0].device)
        start = 0
        for (parameters, decay), means, squares in zip(self.groups, self.means, self.squares, strict=True):
            end = start + len(parameters)
            self.kernel(
                [*parameters],
                list(gradients[start:end]),
                means,
                squares,
                [],
                [count] * len(parameters),
                lr=lr,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
                grad_scale=scale,
            )
            start = end

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later `load_state_dict` needs to go on."""
        return {"count": self.count, "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.count = state["count"]
        for own, stored in ((self.means, state["means"]), (self.squares, state["squares"])):
            for group, kept in zip(own, stored, strict=True):
                for moment, value in zip(group, kept, strict=True):
                    moment.copy_(value)

    def clear(self) -> None:
        """Free the memory of the moments; there is no step after this one."""
        self.means, self.squares = [], []


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

    def step(self, gradients: Sequence[Tensor], lr: float, scale: Tensor | None = None) -> None:
        """Move every parameter by its gradient, divided by `scale` (one number)."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient if scale is None else gradient / scale
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
