"""Code that draws from the global random states is repeatable, and leaves them as they were."""

from __future__ import annotations

import random

import numpy as np
import torch

from msa.heads.estimators.seeding import seeded


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_torch_is_seeded_and_all_states_are_restored() -> None:
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index, union-attr]
    found = []
    for seed in (1, 1, 2):
        with seeded(seed):
            found.append(draw()[2])
    assert found[0] == found[1] != found[2]
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_the_states_are_restored_after_an_error() -> None:
    before = torch.get_rng_state()
    try:
        with seeded(1):
            draw()
            raise RuntimeError
    except RuntimeError:
        pass
    assert torch.equal(torch.get_rng_state(), before)
