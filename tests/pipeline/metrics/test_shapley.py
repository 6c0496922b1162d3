"""Shapley values of two modalities share out what both gain over neither."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from msa.pipeline.metrics.shapley import shapley_pair

SCORES = st.integers(-1000, 1000).map(lambda number: number / 8)


@given(SCORES, SCORES, SCORES, SCORES)
def test_the_values_add_up_and_are_symmetric(neither: float, image: float, text: float, both: float) -> None:
    first, second = shapley_pair(neither, image, text, both)
    assert first + second == both - neither
    assert shapley_pair(neither, text, image, both) == (second, first)


def test_a_modality_that_changes_nothing_has_none() -> None:
    assert shapley_pair(0.25, 0.75, 0.25, 0.75) == (0.5, 0.0)
