"""Each draw of a training has a seed of its own, which depends on nothing but its purpose and its number."""

from __future__ import annotations

import torch

from msa.pipeline.training.seeds import draw_seed, drawing


def test_seeds_differ_by_training_purpose_and_number_and_fit_into_63_bits() -> None:
    seeds = {
        draw_seed(seed, purpose, number) for seed in (0, 1) for purpose in ("order", "views") for number in (1, 2, 12)
    }
    assert len(seeds) == 12
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_same_draw_is_the_same_and_leaves_the_global_state() -> None:
    before = torch.get_rng_state()
    first, second = (torch.rand(4, generator=drawing(0, "order", 3)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
