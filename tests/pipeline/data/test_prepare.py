"""The first step of every command that trains heads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cached_posts import HEAD, cached_posts, stage

from msa.pipeline.data.prepare import prepare


def test_a_modality_that_no_post_has_is_refused_with_the_option_that_leaves_it_out(tmp_path: Path) -> None:
    corpus = cached_posts(tmp_path)
    blind = replace(corpus, samples=[replace(sample, image=None) for sample in corpus.samples])
    with pytest.raises(
        ValueError, match=r"none of the 120 posts .* has an image; .* --image none leaves the images out"
    ):
        prepare(blind, stage(corpus), HEAD, seed=0)
    half = replace(corpus, samples=[*blind.samples[:60], *corpus.samples[60:]])
    table, _, _ = prepare(half, stage(corpus), HEAD, seed=0)
    assert table.image is not None
    assert table.image.present.sum() == 60
