"""A step clips, moves and averages as its config says, and goes on where its state was taken."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.training.optimizer import Step, average_share, decay_groups


def model() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def steps(own: nn.Linear, count: int, *, start: int = 0, state: dict[str, Any] | None = None, **config: Any) -> Step:
    step = Step(*decay_groups(own), TrainConfig(epochs=4, **config), steps_per_epoch=2)
    if state:
        step.restore(state)
    for number in range(start, start + count):
        step((own(torch.full((1, 3), float(number + 1))) ** 2).sum())
    return step


def test_biases_and_norms_are_not_decayed() -> None:
    decayed, plain = decay_groups(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)))
    assert [one.ndim for one in decayed] == [2]
    assert [one.ndim for one in plain] == [1, 1, 1]


def test_clipping_bounds_the_move() -> None:
    moved = []
    for clip in (0.0, 1e-3):
        own = model()
        before = own.weight.detach().clone()
        steps(own, 1, optimizer="sgd", lr=0.1, clip=clip, schedule="constant", weight_decay=0.0)
        moved.append(float((own.weight.detach() - before).norm()))
    assert moved[1] < 1e-3 < moved[0]


@pytest.mark.parametrize("average", ["none", "ema", "swa"])
def test_a_restored_step_goes_on_bit_for_bit(average: str) -> None:
    whole, half = model(), model()
    expected = steps(whole, 8, average=average)
    state = steps(half, 3, average=average).state()
    found = steps(half, 5, start=3, state=state, average=average)
    assert (found.count, found.lr, found.averaged) == (expected.count, expected.lr, expected.averaged)
    assert torch.equal(whole.weight, half.weight)
    with expected.showing_average(), found.showing_average():
        assert torch.equal(whole.weight, half.weight)


def test_swa_is_the_mean_of_the_ends_of_the_later_epochs() -> None:
    config = TrainConfig(epochs=4, average="swa")
    assert [average_share(config, step, 2, 0) > 0 for step in range(1, 9)] == [*[False] * 5, True, False, True]
    assert average_share(config, 8, 2, 1) == 0.5


def test_the_average_is_shown_inside_and_taken_away_after() -> None:
    own = model()
    step = steps(own, 4, average="ema")
    last = own.weight.detach().clone()
    with step.showing_average():
        assert not torch.equal(own.weight, last)
    assert torch.equal(own.weight, last)
