"""Joins posts to their content keys, and ties those that share content."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from ...features.posts.content import Contents, duplicate_groups, hash_corpus
from ...features.posts.near_duplicates import near_duplicate_groups
from ...features.posts.samples import Corpus
from ...features.spec import MODALITIES, Modality, Reads
from ..config.values import GroupBy
from .split import Posts


def tied_by(group_by: GroupBy, used: Collection[Reads]) -> tuple[Modality, ...]:
    """The modalities in use whose equal content ties posts."""
    used = MODALITIES if "post" in used else used
    return tuple(modality for modality in MODALITIES if modality in used and group_by in (modality, "both"))


def group_by_of(tied: Collection[str]) -> GroupBy:
    """The `group_by` under which the content of these modalities ties posts."""
    if len(tied) == len(MODALITIES):
        return "both"
    return "image" if "image" in tied else "text" if "text" in tied else "none"


def join_posts(
    corpus: Corpus,
    cache: Path | None = None,
    tied: Sequence[Modality] = MODALITIES,
    *,
    near_duplicates: bool = False,
) -> tuple[Contents, Posts]:
    """The content keys of a corpus, and its posts as splits read them; equal content of `tied` ties rows.

    Of posts with several images, one that both have ties them. With `near_duplicates` near copies do, too.
    """
    contents = hash_corpus(corpus, cache)
    near = near_duplicate_groups(corpus, contents, tied, cache) if near_duplicates else []
    own = [s.group for s in corpus.samples]
    groups = duplicate_groups(own, *map(contents.keys, tied), *near, owners=contents.owners)
    posts = Posts(
        [s.id for s in corpus.samples],
        [s.label for s in corpus.samples],
        np.array(groups, np.int64),
        [s.split for s in corpus.samples],
        list(zip(contents.joined("image"), contents.text_keys, strict=True)),
        tuple(tied),
    )
    return contents, posts
