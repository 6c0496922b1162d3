"""A trained head without a modality: its features set to zero, to their mean, to another post's, or masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...features.spec import MODALITIES, Modality
from ..config.head_config import HeadConfig
from ..data.cached_features import CachedFeatures
from ..data.inputs import mask_modality
from ..data.ragged_inputs import RaggedInputs, RaggedSide
from ..metrics.probabilities import log_mean
from ..training.batches import EVAL_BATCH_TOKENS
from ..training.folds import FoldResult
from ..training.loop import training_threads
from ..training.predictions import prediction_views, view_logits

REMOVED: dict[str, tuple[Modality, ...]] = {
    "both": (),
    "text": ("image",),
    "image": ("text",),
    "neither": ("image", "text"),
}  # by what the head still reads
Replacement = Literal["zero", "mean", "shuffle", "null"]


def predict_without(
    table: CachedFeatures,
    config: HeadConfig,
    results: Sequence[FoldResult],
    how: Replacement,
    *,
    seeds: Sequence[int],
    device: str,
) -> dict[str, list[NDArray[np.float32]]]:
    """Logits (n, K) of each result's test rows by its trained heads, by the keys of REMOVED.

    `results` are all folds of the first of `seeds`, then all of the next; a seed also names the shuffle of its rows.
    """
    folds = len(results) // len(seeds)
    logits: dict[str, list[NDArray[np.float32]]] = {key: [] for key in REMOVED}
    with training_threads(1):
        for number, result in enumerate(results):
            views = prediction_views(table, config, result.reductions, device)
            rows, train = (torch.from_numpy(part).to(device) for part in (result.fold.test, result.fold.train))
            # One seed per fold and training seed, so that no two of them pair the same posts.
            seed = (seeds[number // folds], number % folds)
            whole = [view.select(rows) for view in views]
            for key, removed in REMOVED.items():
                shown = whole
                for modality in removed:
                    shown = [remove(how, one, modality, posts=views[0], train=train, seed=seed) for one in shown]
                logits[key].append(log_mean(view_logits(result.heads, shown, range(len(rows)))))
    return logits


def remove(
    how: Replacement,
    inputs: RaggedInputs,
    modality: Modality,
    *,
    posts: RaggedInputs,
    train: Tensor,
    seed: tuple[int, ...],
) -> RaggedInputs:
    """The inputs of test rows without a modality; `posts` are the inputs of all posts, `train` their training rows.

    "mean" is the mean of the training rows at each position. Masks stay as they are, except that "null" masks the
    modality and "shuffle" takes the other post's mask with its features. The two modalities are shuffled independently.
    What embeds both together stands with the text; without the image it is zeros, whatever replaces the image.
    Raises ValueError where fewer than two rows are to be shuffled.
    """
    if how == "null":
        return mask_modality(inputs, modality)
    if modality == "image":
        inputs = inputs.without_joint()
    side = inputs.side(modality)
    if how == "zero":
        side = side.filled(torch.zeros(side.longest, side.width, device=inputs.device))
    elif how == "mean":
        side = side.filled(position_means(posts.side(modality), train))
    else:
        order = others(len(inputs), np.random.default_rng((*seed, MODALITIES.index(modality))))
        side = side.select(torch.from_numpy(order).to(inputs.device))
    return inputs.with_side(modality, side)


def others(n: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """A permutation of n places that moves each one: a single cycle in random order.

    Raises ValueError for n below 2.
    """
    if n < 2:
        raise ValueError(f"{n} test row cannot be given another's features; test more posts, or use --how mean")
    cycle = draw.permutation(n)
    order = np.empty(n, np.int64)
    order[cycle] = np.roll(cycle, 1)
    return order


def position_means(side: RaggedSide, rows: Tensor) -> Tensor:
    """Mean (L, D) of the vectors of a modality at each position over the rows (n,) that have one there.

    A position that no row has gets the mean of all positions.
    """
    totals = torch.zeros(side.longest, side.width, dtype=torch.float64, device=rows.device)
    counts = torch.zeros(side.longest, 1, dtype=torch.float64, device=rows.device)
    for some in torch.split(rows, EVAL_BATCH_TOKENS):
        vectors, mask = side.take(some)
        shown = mask[..., None]  # (B, L, 1)
        totals[: mask.shape[1]] += torch.where(shown, vectors, 0.0).sum(0, dtype=torch.float64)
        counts[: mask.shape[1]] += shown.sum(0)
    overall = totals.sum(0) / counts.sum().clamp(min=1)
    return torch.where(counts > 0, totals / counts.clamp(min=1), overall).float()
