"""Predictions of a stored run: the features that it reads, and the logits of its folds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...features.encoders.runtime import pick_device
from ...features.posts.samples import Corpus
from ..config.values import GroupBy
from ..data.cached_features import CachedFeatures, ModalityTable, load_features
from ..data.ragged import BLOCK
from ..metrics.probabilities import log_mean
from ..training.loop import training_threads
from ..training.predictions import prediction_views, view_logits
from .runs import Run


def load_run_features(
    run: Run, corpus: Corpus, cache: Path, *, group_by: GroupBy = "both", memory: int | None = None
) -> CachedFeatures:
    """The features that a run was trained on, for these posts; mapped where they take more than `memory` bytes.

    Raises ValueError where the cache lacks any, or holds NaN or infinity.
    """
    table = load_features(
        corpus,
        cache,
        image=run.specs["image"],
        text=run.specs["text"],
        tokens=run.config.tokens,
        patches=run.config.patches,
        classes=run.classes,
        group_by=group_by,
        views=run.views,
        memory=memory,
    )
    for side in table.sides.values():
        for one in (side, *side.views):
            if len(rows := np.flatnonzero(~_finite(one))):
                folder = cache / one.specs[0].slug
                raise ValueError(
                    f"{folder}: the {one.specs[0].modality} features of post {table.posts.ids[int(rows[0])]!r} "
                    f"({len(rows)} posts in all) hold NaN or infinity; extract or import them into a new --cache"
                )
    return replace(table, ordered=run.ordered)


def run_logits(run: Run, table: CachedFeatures, device: str = "cpu") -> list[NDArray[np.float32]]:
    """Logits (N, K) of every post by each fold: of several heads or views, the log of their mean probability.

    Raises ValueError where one is not finite.
    """
    rows = np.arange(len(table.posts.ids))
    place, found = pick_device(device), []
    with training_threads(1):
        for number, (heads, reductions) in enumerate(run.folds):
            views = prediction_views(table, run.config, reductions, place)
            logits = log_mean(view_logits([head.to(place) for head in heads], views, rows))
            if len(strange := np.flatnonzero(~np.isfinite(logits).all(1))):
                raise ValueError(
                    f"the heads of fold {number} give NaN or infinity for post {table.posts.ids[int(strange[0])]!r} "
                    f"({len(strange)} posts in all); train again with a lower --lr"
                )
            found.append(logits)
    return found


def _finite(side: ModalityTable) -> NDArray[np.bool_]:
    """Mask (N,) of the posts all of whose numbers are finite."""
    blocks = (side.pooled[start : start + BLOCK] for start in range(0, len(side.pooled), BLOCK))
    finite = np.concatenate([np.empty(0, bool), *(np.isfinite(block).all(1) for block in blocks)])
    for one in side.parts or (side,):
        if one.tokens is not None:
            finite &= one.tokens.finite()
    return finite
