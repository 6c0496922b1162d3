"""The number of trials of a search: a grid of lists alone, each point once; else random points."""

from __future__ import annotations

import pytest

from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.search_config import Search
from msa.pipeline.sweeps.search import with_trial_count
from msa.pipeline.sweeps.space import read_space

HEAD = HeadConfig("gated")


def chosen(*settings: str, fusion: str = "", **search: object) -> tuple[str, int]:
    space = read_space(list(settings), fusion=fusion, file=None)
    found = with_trial_count(Search(**search), space, HEAD)  # type: ignore[arg-type]
    return found.sampler, found.trials


def test_a_space_of_lists_is_a_grid_of_which_each_point_is_tried_once() -> None:
    nine = "lr=1e-4,1e-3,1e-2", "hidden=8,16,32"
    assert chosen(*nine) == ("grid", 9)
    assert chosen(*nine, trials=9) == chosen(*nine, trials=64) == ("grid", 9)
    assert chosen(*nine, trials=5) == ("random", 5)
    assert chosen(*nine, sampler="random") == ("random", 64)
    assert chosen("heads=2,4", "hidden=8,16", fusion="attention,gated") == ("grid", 2 * 2 + 2)


def test_a_space_with_a_range_is_sampled_at_random() -> None:
    assert chosen("lr=1e-4..1e-2", "hidden=8,16") == ("random", 64)
    with pytest.raises(ValueError, match="a grid wants choices, as --set lr="):
        chosen("lr=1e-4..1e-2", sampler="grid")


def test_a_grid_that_is_too_large_is_refused_before_it_is_listed() -> None:
    lists = [f"{name}={','.join(map(str, range(1, 101)))}" for name in ("hidden", "batch_size", "epochs", "patience")]
    with pytest.raises(ValueError, match="the grid has 100000000 points; give fewer values, or --trials 64"):
        chosen(*lists)
    assert chosen(*lists, trials=64) == ("random", 64)
