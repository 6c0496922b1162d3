from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from msa.pipeline.data.group_folds import split_groups


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 11), st.integers(2, 5), st.integers(1, 3))
def test_folds_of_groups_of_one_size_are_those_of_scikit_learn(seed: int, parts: int, classes: int, size: int) -> None:
    draw = np.random.default_rng(seed)
    rows = int(draw.integers(60, 300))
    weights = draw.dirichlet(np.ones(classes))
    labels = np.concatenate([np.repeat(range(classes), parts), draw.choice(classes, rows, p=weights)]).astype(str)
    labels = labels[: len(labels) // size * size]
    groups = draw.permutation(np.arange(len(labels)) // size)
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


def test_a_large_balanced_group_leaves_the_other_parts_equal() -> None:
    labels, groups = np.array(["a", "b"] * 50), np.array([0] * 40 + list(range(1, 61)))
    for seed in range(5):
        assert sorted(map(len, split_groups(labels, groups, 5, seed=seed))) == [15, 15, 15, 15, 40]
