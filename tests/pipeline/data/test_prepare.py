"""The first step of every command that trains heads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from cached_posts import HEAD, cached_posts, stage

from msa.features.messages import Notice
from msa.pipeline.config.head_config import HeadConfig
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


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_modality_that_most_posts_lack_is_refused_unless_told_otherwise(
    tmp_path: Path, modality: Literal["image", "text"]
) -> None:
    corpus, lacks = cached_posts(tmp_path), {modality: None}
    partly = [replace(one, **lacks) for one in corpus.samples[:80]]  # type: ignore[arg-type]
    most = replace(corpus, samples=[*partly, *corpus.samples[80:]])
    with pytest.raises(
        ValueError, match=rf"80 of 120 labelled posts have no {modality}.*--{modality} none.*--max-missing 1"
    ):
        prepare(most, stage(corpus), HEAD, seed=0)
    with pytest.warns(Notice, match=rf"80 of 120 labelled posts have no {modality}"):
        prepare(most, stage(corpus, max_missing=1.0), HEAD, seed=0)
    prepare(most, stage(corpus, **{modality: ("none",)}), HEAD, seed=0)
    other = "image" if modality == "text" else "text"
    prepare(most, stage(corpus), HeadConfig(other, inputs="pooled"), seed=0)


def test_unlabelled_posts_may_lack_what_they_like(tmp_path: Path) -> None:
    corpus = cached_posts(tmp_path)
    bare = [replace(one, image=None, label=None) for one in corpus.samples[:80]]
    prepare(replace(corpus, samples=[*bare, *corpus.samples[80:]]), stage(corpus), HEAD, seed=0)


def test_a_bad_image_counts_as_lacking(tmp_path: Path) -> None:
    corpus = cached_posts(tmp_path)
    for sample in corpus.samples[:80]:
        assert isinstance(sample.image, Path)
        sample.image.unlink(missing_ok=True)
    with pytest.raises(ValueError, match="80 of 120 labelled posts have no image, or none that could be embedded"):
        prepare(corpus, stage(corpus), HEAD, seed=0)
