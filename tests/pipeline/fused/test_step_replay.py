"""A recorded step gives the numbers of the step itself, and is used only for steps of its kind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from msa.pipeline.fused import step_replay
from msa.pipeline.fused.step_replay import record, replay, structure


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(step_replay, "AFTER", 2)
    step_replay.forget()
    yield
    step_replay.forget()


def gradient(weight: Tensor, x: Tensor) -> Sequence[Tensor]:
    """A step with a constant, views that change nothing, and a gradient."""
    weight = weight.detach().requires_grad_()
    scaled = weight.view(weight.shape) * torch.arange(3.0)
    value = (x @ scaled.permute(0, 1)).tanh().square().sum()
    return [value.detach(), *torch.autograd.grad(value, [weight])]


def drawn(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(4, 3, generator=draw), torch.randn(rows, 4, generator=draw)


def test_the_numbers_are_the_same_on_other_values() -> None:
    again = record(gradient, drawn(5, 0))
    for seed in range(3):
        for one, two in zip(again(*drawn(5, seed)), gradient(*drawn(5, seed)), strict=True):
            assert torch.equal(one, two)


def test_what_no_operation_has_made_is_a_constant() -> None:
    scale = torch.tensor([2.0, 3.0, 4.0])

    def scaled(*arguments: Tensor) -> Sequence[Tensor]:
        return [arguments[0] * scale.sum() + torch.tensor(1.5)]

    again = record(scaled, drawn(5, 0)[:1])
    assert torch.equal(again(*drawn(5, 1)[:1])[0], drawn(5, 1)[0] * 9 + 1.5)


def test_a_step_that_cannot_be_recorded_stays_as_it_is() -> None:
    def hidden(*arguments: Tensor) -> Sequence[Tensor]:
        with torch._C._DisableTorchDispatch():  # type: ignore[attr-defined]
            alias = arguments[0].view(-1)
        return [alias.sum()]

    assert record(hidden, drawn(5, 0)[:1]) is None
    for seed in range(5):
        (found,) = replay("hidden", hidden, drawn(5, seed)[:1])
        assert torch.equal(found, drawn(5, seed)[0].sum())


def test_what_is_changed_in_place_is_changed_in_each_replay() -> None:
    def counted(*arguments: Tensor) -> Sequence[Tensor]:
        total = torch.zeros(3)
        total.add_(arguments[0][0])
        return [total, arguments[0].clone().mul_(2)]

    again = record(counted, drawn(5, 0)[:1])
    for seed in (1, 2):
        (x,) = drawn(5, seed)[:1]
        once, doubled = again(x)
        assert torch.equal(once, x[0])
        assert torch.equal(doubled, 2 * x)
        assert torch.equal(x, drawn(5, seed)[0])


def test_a_recording_holds_no_tensor_of_its_step() -> None:
    made: list[weakref.ref[Tensor]] = []

    def step(*arguments: Tensor) -> Sequence[Tensor]:
        between = arguments[0].exp()
        made.append(weakref.ref(between))
        return [between.sum()]

    again = record(step, drawn(5, 0)[:1])
    gc.collect()
    assert made[0]() is None
    assert torch.equal(again(*drawn(5, 1)[:1])[0], drawn(5, 1)[0].exp().sum())


def test_a_step_is_recorded_once_it_has_come_up_often() -> None:
    calls = []

    def counted(*arguments: Tensor) -> Sequence[Tensor]:
        calls.append(arguments[1].shape)
        return gradient(*arguments)

    for seed in range(6):
        for one, two in zip(replay("kind", counted, drawn(5, seed)), gradient(*drawn(5, seed)), strict=True):
            assert torch.equal(one, two)
    assert len(calls) == 3  # twice as it is, once to be recorded
    replay("kind", counted, drawn(6, 0))
    replay("other kind", counted, drawn(5, 0))
    assert len(calls) == 5


def test_structure_tells_modules_apart_by_what_they_compute() -> None:
    def build(width: int, rate: float) -> nn.Module:
        return nn.Sequential(nn.Linear(3, width), nn.Dropout(rate))

    assert structure(build(4, 0.1)) == structure(build(4, 0.1).eval())
    assert len({structure(build(4, 0.1)), structure(build(5, 0.1)), structure(build(4, 0.2))}) == 3
