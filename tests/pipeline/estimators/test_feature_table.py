"""A table of features is cut like an array, and refuses arrays that do not fit together."""

from __future__ import annotations

import numpy as np
import pytest

from msa.pipeline.estimators.feature_table import FeatureTable


def posts() -> FeatureTable:
    """90 posts of both modalities, with tokens; some lack either."""
    draw = np.random.default_rng(0)
    image, text = draw.normal(size=(90, 12)), draw.normal(size=(90, 10))
    image[5::30] = np.nan
    text_mask = np.arange(4) < draw.integers(1, 5, (90, 1))
    text_mask[7::30] = False
    patches, words = draw.normal(size=(90, 2, 12)), draw.normal(size=(90, 4, 10))
    return FeatureTable(image, text, image_tokens=patches, text_tokens=words, text_mask=text_mask)


def test_a_table_is_cut_like_an_array() -> None:
    x = posts()
    rows = np.asarray(x)
    mask = np.arange(90) % 7 == 0
    for key in (slice(3, 9), mask, [4, 4, 1], np.array([-1, 0]), slice(None, None, -1), (mask, ...)):
        np.testing.assert_array_equal(np.asarray(x[key]), rows[key])
    np.testing.assert_array_equal(np.asarray(x[2]), rows[2:3])
    assert x.image is not None
    assert x.image.tokens is not None
    cut = x[[8, 2]].image
    assert cut is not None
    assert cut.tokens is not None
    for place, row in enumerate((8, 2)):
        np.testing.assert_array_equal(cut.tokens.row(place), x.image.tokens.row(row))
    assert len(list(x)) == 90
    assert repr(x) == "FeatureTable(90 posts: image 12 with tokens, text 10 with tokens)"
    with pytest.raises(IndexError, match="indexed by rows alone"):
        x[:, 0]
    with pytest.raises(IndexError):
        x[90]


def test_arrays_that_do_not_fit_are_refused() -> None:
    ones = np.ones((4, 3))
    for wanted, given in {
        "give image=ARRAY or text=ARRAY": {},
        "image has 4 rows and text 2": {"image": ones, "text": ones[:2]},
        r"image must be an array \(posts, columns\), got shape \(4,\)": {"image": ones[:, 0]},
        r"text_tokens must be \(4, tokens, 3\) as text is, got shape \(4, 2, 5\)": {
            "text": ones,
            "text_tokens": np.ones((4, 2, 5)),
        },
        r"text_mask must be \(4,\) or \(4, tokens\), got shape \(3,\)": {"text": ones, "text_mask": np.ones(3)},
        "go with pooled vectors; give image=ARRAY": {"text": ones, "image_mask": np.ones(4)},
        "text has rows with NaN or infinity": {"text": np.where(np.eye(4, 3), np.nan, 1)},
    }.items():
        with pytest.raises(ValueError, match=wanted):
            FeatureTable(**given)
