from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from msa.pipeline.data.group_folds import split_groups


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 11), st.integers(2, 5), st.floats(0.1, 1.0))
def test_the_folds_are_those_of_scikit_learn(seed: int, parts: int, classes: int, alone: float) -> None:
    draw = np.random.default_rng(seed)
    rows = int(draw.integers(60, 300))
    weights = draw.dirichlet(np.ones(classes))
    labels = np.concatenate([np.repeat(range(classes), parts), draw.choice(classes, rows, p=weights)]).astype(str)
    groups = draw.integers(0, int(len(labels) * alone) + parts, len(labels))
    if len(np.unique(groups)) < parts:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        wanted = list(StratifiedGroupKFold(parts, shuffle=True, random_state=seed).split(labels, labels, groups))
    found = split_groups(labels, groups, parts, seed=seed)
    for (_, expected), got in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("parts", [2, 5, 10])
def test_every_row_is_in_one_part_and_no_group_is_parted(parts: int) -> None:
    draw = np.random.default_rng(1)
    labels, groups = draw.choice(["a", "b", "c"], 500, p=[0.6, 0.3, 0.1]), draw.integers(0, 400, 500)
    found = split_groups(labels, groups, parts, seed=3)
    assert sorted(np.concatenate(found).tolist()) == list(range(500))
    assert sum(len(set(groups[part])) for part in found) == len(set(groups))
    shares = np.array([[np.mean(labels[part] == name) for name in "abc"] for part in found])
    assert np.ptp(shares, axis=0).max() < 0.05
