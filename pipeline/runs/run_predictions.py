"""Predictions of a stored run: the features that it reads, and its mean probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...features.encoders.runtime import pick_device
from ...features.posts.samples import Corpus
from ..config.values import GroupBy
from ..data.cached_features import CachedFeatures, load_features
from ..metrics.probabilities import softmax
from ..training.loop import training_threads
from ..training.predictions import prediction_views, view_logits
from .runs import Run


def load_run_features(run: Run, corpus: Corpus, cache: Path, *, group_by: GroupBy = "both") -> CachedFeatures:
    """The features that a run was trained on, for these posts. Raises ValueError where the cache lacks any."""
    return load_features(
        corpus,
        cache,
        image=run.specs["image"],
        text=run.specs["text"],
        tokens=run.config.tokens,
        patches=run.config.patches,
        classes=run.classes,
        group_by=group_by,
        views=run.views,
    )


def run_probabilities(run: Run, table: CachedFeatures, device: str = "cpu") -> NDArray[np.float64]:
    """Probabilities (N, K) of every post: the mean over the heads of all folds, and over views if the run averages."""
    rows = np.arange(len(table.posts.ids))
    place = pick_device(device)
    total, count = np.zeros((len(rows), len(run.classes))), 0
    with training_threads(1):
        for heads, reductions in run.folds:
            views = prediction_views(table, run.config, reductions, place)
            for logits in view_logits([head.to(place) for head in heads], views, rows):
                total += softmax(logits)
                count += 1
    return total / count
