"""The Chinese texts of explanations have the same gaps to be filled as the English ones."""

from __future__ import annotations

from string import Formatter

import pytest

from msa.pipeline.explanation.chinese import CHINESE


@pytest.mark.parametrize("english", CHINESE)
def test_both_languages_have_the_same_gaps(english: str) -> None:
    gaps = [{field for _, field, _, _ in Formatter().parse(text) if field} for text in (english, CHINESE[english])]
    assert gaps[0] == gaps[1]
