"""Unlabelled posts in training: a head learns from labels that it, or the other modality's classifier, is sure of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ...features.spec import Modality
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from ..metrics.probabilities import log_mean, softmax
from .fold_result import FoldResult
from .folds import FoldDone, train_folds
from .loop import training_threads
from .predictions import prediction_views, view_logits

Method = Literal["self", "cotrain"]
OTHER: dict[Modality, Modality] = {"image": "text", "text": "image"}


@dataclass(frozen=True)
class Guessing:
    """When a guessed label is trusted.

    Its probability is `threshold` or more, and in round r of `rounds` it is among the surest r / `rounds` · `share` of
    the unlabelled rows. The guessed classes have the shares that they have among the labelled training rows. Each
    round guesses all rows anew, so that a wrong guess may be taken back.

    Raises ValueError naming the first field that is out of range.
    """

    rounds: int = 3
    threshold: float = 0.5
    share: float = 1.0

    def __post_init__(self) -> None:
        for name, holds, wanted in (
            ("rounds", self.rounds >= 1, "1 or more"),
            ("threshold", 0 <= self.threshold <= 1, "a probability"),
            ("share", 0 < self.share <= 1, "above 0 and at most 1"),
        ):
            if not holds:
                raise ValueError(f"{name} of guessed labels must be {wanted}, got {getattr(self, name)!r}")


class Guesses(NamedTuple):
    """Guessed labels: row numbers (G,), class numbers (G,), probabilities (G,)."""

    rows: NDArray[np.int64]
    targets: NDArray[np.int64]
    chances: NDArray[np.float64]


NOTHING = Guesses(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def train_unlabelled(
    table: CachedFeatures,
    folds: Sequence[Fold],
    config: HeadConfig,
    training: TrainConfig,
    *,
    method: Method,
    guessing: Guessing = Guessing(),
    device: str = "cpu",
    done: FoldDone = lambda number, total: None,
) -> list[FoldResult]:
    """Train and score the head on every fold as `train_folds` does, with unlabelled rows beside the labelled ones.

    "self" is self-training: the head guesses, and learns from what it is sure of. "cotrain" is co-training (Blum &
    Mitchell, 1998): a classifier of each modality guesses for the other's, then the head learns from the guesses of
    both. A row that shares content or group with a labelled post, of a test split too, is never guessed. The results'
    `fold.train` ends with the guessed rows; stop and test rows are those of `folds`.

    Raises ValueError where no row is free to be guessed, or a modality that co-training needs is not there.
    """
    if method not in ("self", "cotrain"):
        raise ValueError(f"unlabelled rows are used by self or cotrain, got {method!r}")
    if config.ensemble_size > 1:
        raise ValueError(
            f"unlabelled posts are guessed for 1 member per fold, got {config.ensemble_size}; use members=1"
        )
    pool = free_rows(table, both=method == "cotrain")
    results = []
    for number, fold in enumerate(folds):
        settings = _Settings(table, fold, config, training, guessing, pool, device)
        guesses = _guess_self(settings) if method == "self" else _cotrain(settings)
        results.append(settings.train(guesses))
        done(number + 1, len(folds))
    return results


def free_rows(table: CachedFeatures, *, both: bool) -> NDArray[np.int64]:
    """Rows (U,) that may be guessed: unlabelled, with a modality (or `both`), no copy of a labelled post."""
    sides = [side.present for side in (table.image, table.text) if side is not None]
    if both and len(sides) < 2:
        raise ValueError("co-training needs image and text features; give both encoders, or use self-training")
    present = np.logical_and.reduce(sides) if both else np.logical_or.reduce(sides)
    groups = table.posts.groups
    labelled = np.array([label is not None for label in table.posts.labels])
    free = np.flatnonzero(present & ~np.isin(groups, groups[labelled]))
    if not len(free):
        raise ValueError("no unlabelled post is free of copies of labelled ones; train without unlabelled posts")
    return free


def surest(
    chances: NDArray[np.float64], rows: NDArray[np.int64], shares: NDArray[np.float64], *, threshold: float, most: float
) -> Guesses:
    """The surest guesses for rows (U,) by probabilities (U, K): at most `most`, of classes in these `shares` (K,).

    A class of which few rows reach the threshold holds the others back: guesses of the common classes alone would
    teach that nothing else exists. Between equals the earlier row wins.
    """
    guess, chance = chances.argmax(1), chances.max(1)
    sure = [np.flatnonzero((guess == number) & (chance >= threshold)) for number in range(len(shares))]
    whole = min([most, *(len(own) / share for own, share in zip(sure, shares, strict=True) if share)])
    kept = [
        own[np.argsort(-chance[own], kind="stable")][: int(share * whole + 1e-9)]
        for own, share in zip(sure, shares, strict=True)
    ]
    places = np.sort(np.concatenate(kept))
    return Guesses(rows[places], guess[places], chance[places])


def agree(one: Guesses, other: Guesses) -> Guesses:
    """Join the guesses of two classifiers; where both guessed a row the surer one's counts, of equals the first's."""
    rows, targets, chances = (np.concatenate(pair) for pair in zip(one, other, strict=True))
    order = np.argsort(-chances, kind="stable")
    first = order[np.unique(rows[order], return_index=True)[1]]
    return Guesses(rows[first], targets[first], chances[first])


@dataclass(frozen=True)
class _Settings:
    """One fold, and how to train on it and guess."""

    table: CachedFeatures
    fold: Fold
    config: HeadConfig
    training: TrainConfig
    guessing: Guessing
    pool: NDArray[np.int64]
    device: str

    def alone(self, modality: Modality) -> _Settings:
        """The same for the classifier of one modality."""
        return replace(self, config=replace(self.config, fusion=modality, options={}))

    def train(self, guesses: Guesses) -> FoldResult:
        """Train on the labelled rows and the guessed ones."""
        labels = list(self.table.posts.labels)
        for row, target in zip(guesses.rows, guesses.targets, strict=True):
            labels[row] = self.table.classes[target]
        table = replace(self.table, posts=replace(self.table.posts, labels=labels))
        fold = replace(self.fold, train=np.concatenate([self.fold.train, guesses.rows]))
        return train_folds(table, [fold], self.config, self.training, device=self.device)[0]

    def guess(self, result: FoldResult, number: int) -> Guesses:
        """What the trained heads are sure of in round `number`, counted from 1."""
        views = prediction_views(self.table, self.config, result.reductions, self.device)
        with training_threads(1 if self.device == "cpu" else torch.get_num_threads()):
            logits = view_logits(result.heads, views, self.pool)
        targets = self.table.targets()[self.fold.train]
        shares = np.bincount(targets, minlength=len(self.table.classes)) / len(targets)
        most = self.guessing.share * len(self.pool) * number / self.guessing.rounds
        return surest(softmax(log_mean(logits)), self.pool, shares, threshold=self.guessing.threshold, most=most)


def _guess_self(settings: _Settings) -> Guesses:
    guesses = NOTHING
    for number in range(1, settings.guessing.rounds + 1):
        guesses = settings.guess(settings.train(guesses), number)
    return guesses


def _cotrain(settings: _Settings) -> Guesses:
    guesses: dict[Modality, Guesses] = {"image": NOTHING, "text": NOTHING}
    for number in range(1, settings.guessing.rounds + 1):
        taught = {name: settings.alone(name).train(guesses[OTHER[name]]) for name in guesses}
        guesses = {name: settings.alone(name).guess(taught[name], number) for name in guesses}
    return agree(guesses["image"], guesses["text"])
