"""Losses, disagreements and Shapley values of posts, from probabilities that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from msa.pipeline.inspection.posts import SMALLEST, TestPosts, join_repeats

N, K = 50, 3


def posts(*, alone: bool = True) -> TestPosts:
    """N posts; the first has no image, the second no text, the third neither."""
    draw = np.random.default_rng(0)
    probabilities, parts = draw.dirichlet([0.5] * K, N), draw.dirichlet([0.5] * K, (N, 3))
    parts[[0, 2], 0] = np.nan
    parts[[1, 2], 1] = np.nan
    probabilities[0], probabilities[1], probabilities[2] = parts[0, 1], parts[1, 0], parts[2, 2]
    truth = draw.integers(K, size=N)
    return TestPosts([f"p{n}" for n in range(N)], "abc", truth, probabilities, parts if alone else None)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("of", ["truth", "predicted"])
def test_shapley_values_sum_to_the_difference_from_no_input(log: bool, of: str) -> None:
    found, rows = posts(), np.arange(N)
    assert found.alone is not None
    classes = getattr(found, of)
    both, neither = found.probabilities[rows, classes], found.alone[rows, 2, classes]
    if log:
        both, neither = np.log(np.maximum(both, SMALLEST)), np.log(np.maximum(neither, SMALLEST))
    values = found.shapley(classes, log=log)
    np.testing.assert_allclose(values.sum(1), both - neither, atol=1e-12)
    assert values[0, 0] == values[1, 1] == 0  # of a modality that is missing
    assert values[2].tolist() == [0, 0]


def test_a_shapley_value_is_the_mean_of_both_orders() -> None:
    alone = np.array([[[0.6, 0.4], [0.3, 0.7], [0.5, 0.5]]])
    one = TestPosts(["p"], "ab", np.array([0]), np.array([[0.8, 0.2]]), alone)
    np.testing.assert_allclose(one.shapley(one.truth), [[(0.1 + 0.5) / 2, (-0.2 + 0.2) / 2]], atol=1e-12)


def test_loss_is_the_cross_entropy_and_the_worst_come_first() -> None:
    found = posts()
    np.testing.assert_allclose(
        found.loss, [-np.log(p[k]) for p, k in zip(found.probabilities, found.truth, strict=True)]
    )
    assert np.all(np.diff(found.loss[found.worst]) <= 0)
    sure = TestPosts(["p"], "ab", np.array([1]), np.array([[1.0, 0.0]]))
    assert np.isfinite(sure.loss).all()


def test_posts_disagree_whose_modalities_predict_different_classes() -> None:
    found = posts()
    assert found.alone is not None
    image, text = found.alone[:, 0], found.alone[:, 1]
    wanted = {row for row in range(3, N) if image[row].argmax() != text[row].argmax()}
    assert set(found.disagreeing) == wanted
    assert 10 < len(wanted) < N - 10
    rows = found.disagreeing
    np.testing.assert_allclose(
        found.divergence[rows], jensenshannon(image[rows].T, text[rows].T, base=2) ** 2, atol=1e-4
    )
    assert np.all(np.diff(found.divergence[rows]) <= 0)
    assert not len(posts(alone=False).disagreeing)


def test_repeats_are_averaged_and_opinions_must_cover_every_row() -> None:
    names = [("p", "0"), ("q", "0"), ("q", "1"), ("p", "1")]
    probabilities = np.array([[0.2, 0.8], [0.5, 0.5], [0.7, 0.3], [0.4, 0.6]])
    opinions = {name: np.full((3, 2), number / 10) for number, name in enumerate(names)}
    opinions["p", "0"][0] = opinions["p", "1"][0] = np.nan
    joined = join_repeats("ab", names, np.array([1, 0, 0, 1]), probabilities, opinions)
    assert joined.ids == ["p", "q"]
    assert joined.truth.tolist() == [1, 0]
    np.testing.assert_allclose(joined.probabilities, [[0.3, 0.7], [0.6, 0.4]])
    assert joined.alone is not None
    np.testing.assert_allclose(joined.alone[:, 1, 0], [0.15, 0.15])
    assert np.isnan(joined.alone[0, 0]).all()
    del opinions["q", "1"]
    assert join_repeats("ab", names, np.array([1, 0, 0, 1]), probabilities, opinions).alone is None
