"""Runs are compared on the test rows that both have."""

from __future__ import annotations

import numpy as np
import pytest
from figure_runs import PREDICTED, TRUTH, stored_run

from msa.pipeline.figures.differences import compare_predictions
from msa.pipeline.metrics.statistics import mcnemar


def test_posts_are_matched_by_id_and_classes_by_name() -> None:
    one = stored_run().predictions
    other = stored_run(classes=("c", "b", "a")).predictions
    assert one
    assert other
    right = other._replace(
        posts=one.posts[::-1], truth=2 - TRUTH[::-1], predicted=2 - TRUTH[::-1], probabilities=one.probabilities
    )
    found = compare_predictions(one, right)
    assert found
    assert found.rows == 10
    assert found.metrics["accuracy"] == pytest.approx(-0.3)
    assert found.mcnemar == mcnemar(TRUTH, PREDICTED, TRUTH).mid
    part = compare_predictions(one, right._replace(posts=[("x", "0")] * 6 + right.posts[6:]))
    assert part
    assert part.rows == 4
    assert part.metrics["accuracy"] == pytest.approx(-0.25)


def test_rows_of_repeats_are_told_apart_and_without_common_rows_there_is_nothing() -> None:
    one = stored_run().predictions
    assert one
    twice = one._replace(
        posts=[*one.posts, *((name, "1") for name, _ in one.posts)],
        truth=np.tile(TRUTH, 2),
        predicted=np.concatenate([TRUTH, PREDICTED]),
        probabilities=np.tile(one.probabilities, (2, 1)),
    )
    found = compare_predictions(twice, twice._replace(predicted=np.tile(PREDICTED, 2)))
    assert found
    assert found.metrics["accuracy"] == pytest.approx(0.15)
    assert compare_predictions(one, one._replace(posts=[(name, "9") for name, _ in one.posts])) is None
