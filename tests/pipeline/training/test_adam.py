"""The optimizers move parameters as torch.optim's do, and go on where they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.training.adam import FusedAdam, TorchOptimizer
from msa.pipeline.training.optimizer import Step, decay_groups, make_optimizer


def parameters() -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    draw = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(4, 3, generator=draw))], [nn.Parameter(torch.randn(4, generator=draw))]


@torch.no_grad()
def steps(optimizer: Any, own: list[nn.Parameter], rates: list[float]) -> None:
    for number, rate in enumerate(rates):
        draw = torch.Generator().manual_seed(number)
        optimizer.step([torch.randn(parameter.shape, generator=draw) for parameter in own], rate, number + 1)


class Torch:
    """torch's own, with a learning rate per step."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.own = optimizer

    def step(self, gradients: list[Tensor], rate: float, count: int) -> None:
        moved = [parameter for group in self.own.param_groups for parameter in group["params"]]
        for parameter, gradient in zip(moved, gradients, strict=True):
            parameter.grad = gradient
        for group in self.own.param_groups:
            group["lr"] = rate
        self.own.step()


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_every_step_is_torchs(kind: str) -> None:
    decayed, plain = parameters()
    theirs = [parameter for part in parameters() for parameter in part]
    groups = [{"params": theirs[:1], "weight_decay": 0.1}, {"params": theirs[1:], "weight_decay": 0.0}]
    if kind == "sgd":
        own: Any = make_optimizer(decayed, plain, TrainConfig(optimizer="sgd", weight_decay=0.1))
        other: Any = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, fused=True)
    else:
        own = FusedAdam(decayed, plain, decay=0.1, decoupled=kind == "adamw")
        other = (torch.optim.AdamW if kind == "adamw" else torch.optim.Adam)(groups, lr=0.1, fused=True)
    assert isinstance(own, TorchOptimizer if kind == "sgd" else FusedAdam)
    rates = [0.1, 0.03, 0.0, 0.2]
    steps(own, [*decayed, *plain], rates)
    steps(Torch(other), theirs, rates)
    for mine, their in zip([*decayed, *plain], theirs, strict=True):
        assert torch.equal(mine, their)


def test_a_stored_optimizer_goes_on() -> None:
    whole, cut = parameters(), parameters()
    first = FusedAdam(*whole, decay=0.1, decoupled=True)
    steps(first, [*whole[0], *whole[1]], [0.1, 0.2])
    begun = FusedAdam(*cut, decay=0.1, decoupled=True)
    steps(begun, [*cut[0], *cut[1]], [0.1, 0.2])
    again = FusedAdam(*cut, decay=0.1, decoupled=True)
    again.load_state_dict(begun.state_dict())
    for optimizer, own in ((first, whole), (again, cut)):
        steps(optimizer, [*own[0], *own[1]], [0.3])
    assert all(torch.equal(a, b) for one, two in zip(whole, cut, strict=True) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("kind", ["adamw", "adam"])
def test_without_the_private_kernels_torch_optim_does_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = parameters(), parameters()
    config = TrainConfig(optimizer=kind, weight_decay=0.1)  # type: ignore[arg-type]
    steps(make_optimizer(*one, config), [*one[0], *one[1]], [0.1, 0.03, 0.2])
    monkeypatch.delattr(torch, "_fused_adamw_")
    monkeypatch.delattr(torch, "_fused_adam_")
    plain = make_optimizer(*two, config)
    assert isinstance(plain, TorchOptimizer)
    steps(plain, [*two[0], *two[1]], [0.1, 0.03, 0.2])
    for mine, theirs in zip([*one[0], *one[1]], [*two[0], *two[1]], strict=True):
        torch.testing.assert_close(mine, theirs)


def test_without_the_private_kernels_a_model_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "_fused_adamw_")
    model = nn.Linear(3, 2)
    step = Step(*decay_groups(model), TrainConfig(lr=0.1), steps_per_epoch=4)
    losses = []
    for _ in range(8):
        loss = (model(torch.ones(1, 3)) - 1).square().sum()
        losses.append(loss.item())
        step(loss)
    assert losses[-1] < losses[0]
    step.restore(step.state())
