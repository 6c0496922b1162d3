"""Over seeds, every duplicate group is tested and validates as often as any other; folds stay stratified."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from msa.pipeline.data.split import Fold, Posts, inner_folds, make_folds, take_share

SEEDS = 200


def corpus(kind: str) -> Posts:
    """Posts with one group of 11 % or of 40 %, or with group sizes as in MVSA-Single: most alone, few of up to 30."""
    draw = np.random.default_rng(7)
    sizes = {"11 %": [18, 7, *[1] * 135], "40 %": [64, *[1] * 96], "MVSA": [30, 12, 6, 5, 4, 3, 3, *[2] * 8, *[1] * 81]}
    groups = np.repeat(np.arange(len(sizes[kind])), sizes[kind])
    labels = draw.choice(["negative", "neutral", "positive"], len(groups), p=[0.3, 0.1, 0.6]).tolist()
    return Posts([f"p{n}" for n in range(len(groups))], labels, groups, [None] * len(groups))


def rates(groups: np.ndarray, drawn: list[np.ndarray]) -> np.ndarray:
    """How often each group is among the drawn rows; it is whole there or not at all."""
    counts = np.zeros(groups.max() + 1)
    for rows in drawn:
        inside = np.unique(groups[rows])
        assert np.isin(groups, inside).sum() == len(rows)
        counts[inside] += 1
    return counts / len(drawn)


def assert_fair(found: np.ndarray, share: float, draws: int = SEEDS) -> None:
    """No group strays from its share by more than sampling does: 4.5 standard errors for the worst of a hundred."""
    error = np.sqrt(share * (1 - share) / draws)
    assert np.abs(found - share).max() < 4.5 * error
    assert abs(found.mean() - share) < 3 * error


@pytest.mark.parametrize("kind", ["11 %", "40 %", "MVSA"])
def test_every_group_is_scored_and_validates_as_often_as_its_share(kind: str) -> None:
    posts = corpus(kind)
    folds = [make_folds(posts, folds=None, seed=seed)[0] for seed in range(SEEDS)]
    assert_fair(rates(posts.groups, [fold.test for fold in folds]), 1 / 5)
    for fold in folds:
        assert len(fold.rest) + len(fold.test) == len(posts.ids)
    # The largest group and the next: independent draws, though one of them follows the other.
    assert_fair(rates(posts.groups, [fold.valid for fold in folds])[:2], 4 / 5 / 10)


def test_inner_folds_and_the_validation_rows_of_several_folds_are_drawn_apart() -> None:
    posts = corpus("11 %")
    tested, validating = [], []
    for seed in range(SEEDS // 4):
        outer = make_folds(posts, folds=5, seed=seed)
        validating += [0 in posts.groups[fold.valid] for fold in outer]
        inner = inner_folds(posts, outer[0], folds=4, seed=seed)
        if 0 in posts.groups[outer[0].rest]:
            tested.append([0 in posts.groups[fold.test] for fold in inner].index(True))
    assert np.mean(validating) == pytest.approx(4 / 5 / 10, abs=4 * np.sqrt(0.08 * 0.92 / len(validating)))
    assert np.bincount(tested, minlength=4).min() >= 3  # expected 10 of each


@pytest.mark.parametrize("kind", ["11 %", "40 %", "MVSA"])
def test_a_share_holds_every_group_as_often_as_its_share(kind: str) -> None:
    posts = corpus(kind)
    drawn = [take_share(posts, np.arange(len(posts.ids)), 0.2, seed=seed) for seed in range(SEEDS)]
    found = rates(posts.groups, drawn)
    labels = np.array(posts.labels)
    rows = [np.flatnonzero(posts.groups == group)[0] for group in range(len(found))]
    common = found[labels[rows] != "neutral"]  # one post of a class is always taken, which favours the rarest
    assert_fair(common, 0.2)


@pytest.mark.parametrize("kind", ["11 %", "40 %", "MVSA"])
def test_folds_are_stratified_as_well_as_those_of_scikit_learn(kind: str) -> None:
    posts = corpus(kind)
    labels = np.array(posts.labels)

    def unevenness(parts: list[np.ndarray]) -> float:
        shares = [[np.mean(labels[part] == name) for name in np.unique(labels)] for part in parts]
        return float(np.std(shares, axis=0).sum())

    ours, theirs = [], []
    for seed in range(20):
        made: list[Fold] = make_folds(posts, folds=5, seed=seed)
        ours.append(unevenness([fold.test for fold in made]))
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            split = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, posts.groups)
            theirs.append(unevenness([test for _, test in split]))
    spread = np.std(np.subtract(ours, theirs)) / np.sqrt(len(ours))
    assert np.mean(ours) <= np.mean(theirs) + 3 * spread + 1e-12
