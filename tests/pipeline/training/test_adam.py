"""The optimizers move parameters as torch.optim's do, and go on where they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from msa.pipeline.training.adam import Adam, Sgd, gradient_norms


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
        own: Any = Sgd(decayed, plain, decay=0.1, momentum=0.9)
        other: Any = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, fused=True)
    else:
        own = Adam(decayed, plain, decay=0.1, decoupled=kind == "adamw")
        other = (torch.optim.AdamW if kind == "adamw" else torch.optim.Adam)(groups, lr=0.1, fused=True)
    rates = [0.1, 0.03, 0.0, 0.2]
    steps(own, [*decayed, *plain], rates)
    steps(Torch(other), theirs, rates)
    for mine, their in zip([*decayed, *plain], theirs, strict=True):
        assert torch.equal(mine, their)


@torch.no_grad()
@pytest.mark.parametrize("kind", [Adam, Sgd])
def test_parameters_may_be_moved_one_after_another(kind: type[Adam] | type[Sgd]) -> None:
    options: dict[str, Any] = {"decoupled": True} if kind is Adam else {"momentum": 0.9}
    one, two = parameters(), parameters()
    whole, parts = (kind(*of, decay=0.1, **options) for of in (one, two))
    for count in (1, 2):
        gradients = [torch.full((4, 3), float(count)), torch.arange(4.0)]
        whole.step([part.clone() for part in gradients], 0.1, count)
        parts.step([gradients[1].clone()], 0.1, count, None, (1,))
        assert not torch.equal(one[0][0], two[0][0])
        parts.step([gradients[0].clone()], 0.1, count, None, (0,))
        assert torch.equal(one[0][0], two[0][0])
        assert torch.equal(one[1][0], two[1][0])


@torch.no_grad()
@pytest.mark.parametrize("kind", [Adam, Sgd])
def test_a_scale_divides_the_gradient(kind: type[Adam] | type[Sgd]) -> None:
    options: dict[str, Any] = {"decoupled": True} if kind is Adam else {"momentum": 0.9}
    one, two = parameters(), parameters()
    gradients = [torch.full((4, 3), 2.0), torch.arange(4.0)]
    kind(*one, decay=0.1, **options).step([part.clone() for part in gradients], 0.1, 1, torch.tensor(4.0))
    kind(*two, decay=0.1, **options).step([part / 4 for part in gradients], 0.1, 1)
    assert torch.equal(one[0][0], two[0][0])
    assert torch.equal(one[1][0], two[1][0])


def test_a_stored_optimizer_goes_on() -> None:
    whole, cut = parameters(), parameters()
    first = Adam(*whole, decay=0.1, decoupled=True)
    steps(first, [*whole[0], *whole[1]], [0.1, 0.2])
    begun = Adam(*cut, decay=0.1, decoupled=True)
    steps(begun, [*cut[0], *cut[1]], [0.1, 0.2])
    again = Adam(*cut, decay=0.1, decoupled=True)
    again.load_state_dict(begun.state_dict())
    for optimizer, own in ((first, whole), (again, cut)):
        steps(optimizer, [*own[0], *own[1]], [0.3])
    assert all(torch.equal(a, b) for one, two in zip(whole, cut, strict=True) for a, b in zip(one, two, strict=True))


def test_each_heads_norm_is_its_own() -> None:
    parts = [torch.randn(3, 4, 5), torch.randn(3, 2)]
    expected = torch.stack([torch.cat([part[n].flatten() for part in parts]).norm() for n in range(3)])
    torch.testing.assert_close(gradient_norms(parts), expected)
