"""Pseudo-labels: a head also trains on unlabelled posts, with labels predicted by itself or by one per modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ...features.progress import stage
from ...features.spec import Modality
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from ..metrics.probabilities import log_mean, softmax
from .epochs import EpochDone, TrainedEpoch
from .folds import FoldResult, train_folds
from .loop import training_threads
from .predictions import prediction_views, view_logits

Method = Literal["self", "cotrain"]
OTHER: dict[Modality, Modality] = {"image": "text", "text": "image"}


@dataclass(frozen=True)
class PseudoLabelConfig:
    """Which predictions become pseudo-labels.

    The probability is `threshold` or more, and in round r of `rounds` it is among the r / `rounds` · `share` most
    confident of the unlabelled rows. The classes have the shares that they have among the labelled training rows. Each
    round predicts all rows again, so that a wrong pseudo-label may be corrected.

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
                raise ValueError(f"{name} of pseudo-labels must be {wanted}, got {getattr(self, name)!r}")


class PseudoLabels(NamedTuple):
    """Row numbers (P,), their predicted class numbers (P,), and the probabilities (P,) of these."""

    rows: NDArray[np.int64]
    targets: NDArray[np.int64]
    probabilities: NDArray[np.float64]


NONE = PseudoLabels(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def train_with_pseudo_labels(
    table: CachedFeatures,
    folds: Sequence[Fold],
    config: HeadConfig,
    training: TrainConfig,
    *,
    method: Method,
    pseudo: PseudoLabelConfig = PseudoLabelConfig(),
    device: str = "cpu",
    epoch_done: EpochDone = lambda epoch: None,
) -> list[FoldResult]:
    """Train and test the head on every fold as `train_folds` does, with unlabelled rows beside the labelled ones.

    "self" is self-training: the head trains on its own most confident predictions. "cotrain" is co-training (Blum &
    Mitchell, 1998): a classifier of each modality labels rows for the other's, then the head trains on the labels of
    both. A row that shares content or group with a labelled post, of a test split too, is never used. The results'
    `fold.train` ends with the pseudo-labelled rows; validation and test rows are those of `folds`.

    Raises ValueError where no row can be used, or a modality that co-training needs is missing.
    """
    if method not in ("self", "cotrain"):
        raise ValueError(f"unlabelled rows are used by self or cotrain, got {method!r}")
    if config.ensemble_size > 1:
        raise ValueError(f"pseudo-labels need an ensemble size of 1, got {config.ensemble_size}; leave --ensemble out")
    rows = unlabelled_rows(table, both=method == "cotrain")
    results = []
    for number, fold in enumerate(folds):
        stage(f"training with pseudo-labels, fold {number + 1} of {len(folds)}")

        def trained(epoch: TrainedEpoch, number: int = number) -> None:
            epoch_done(epoch._replace(fold=number))

        trainer = _Trainer(table, fold, config, training, pseudo, rows, device, trained)
        labels = _self_train(trainer) if method == "self" else _cotrain(trainer)
        results.append(trainer.train(labels))
    return results


def unlabelled_rows(table: CachedFeatures, *, both: bool) -> NDArray[np.int64]:
    """Rows (U,) without a label that have a modality (or `both`), and are no copy of a labelled post.

    Raises ValueError where there is none.
    """
    sides = [side.present for side in table.sides.values()]
    if both and len(sides) < 2:
        raise ValueError("co-training needs image and text features; give both encoders, or use self-training")
    present = np.logical_and.reduce(sides) if both else np.logical_or.reduce(sides)
    groups = table.posts.groups
    labelled = np.array([label is not None for label in table.posts.labels])
    rows = np.flatnonzero(present & ~np.isin(groups, groups[labelled]))
    if not len(rows):
        raise ValueError("no unlabelled post is free of copies of labelled ones; train without unlabelled posts")
    return rows


def most_confident(
    probabilities: NDArray[np.float64],
    rows: NDArray[np.int64],
    shares: NDArray[np.float64],
    *,
    threshold: float,
    most: float,
) -> PseudoLabels:
    """The most confident labels of rows (U,) by probabilities (U, K): at most `most`, of classes in `shares` (K,).

    A class of which few rows reach the threshold limits the others: pseudo-labels of the common classes alone would
    teach that nothing else exists. Between equals the earlier row wins.
    """
    targets, best = probabilities.argmax(1), probabilities.max(1)
    confident = [np.flatnonzero((targets == number) & (best >= threshold)) for number in range(len(shares))]
    total = min([most, *(len(own) / share for own, share in zip(confident, shares, strict=True) if share)])
    kept = [
        own[np.argsort(-best[own], kind="stable")][: int(share * total + 1e-9)]
        for own, share in zip(confident, shares, strict=True)
    ]
    places = np.sort(np.concatenate(kept))
    return PseudoLabels(rows[places], targets[places], best[places])


def merge(one: PseudoLabels, other: PseudoLabels) -> PseudoLabels:
    """Join the labels of two classifiers; of two for one row the more confident counts, of equals the first's."""
    rows, targets, probabilities = (np.concatenate(pair) for pair in zip(one, other, strict=True))
    order = np.argsort(-probabilities, kind="stable")
    first = order[np.unique(rows[order], return_index=True)[1]]
    return PseudoLabels(rows[first], targets[first], probabilities[first])


@dataclass(frozen=True)
class _Trainer:
    """Trains on one fold, and predicts its unlabelled `rows` (U,)."""

    table: CachedFeatures
    fold: Fold
    config: HeadConfig
    training: TrainConfig
    pseudo: PseudoLabelConfig
    rows: NDArray[np.int64]
    device: str
    epoch_done: EpochDone

    def alone(self, modality: Modality) -> _Trainer:
        """The same for the classifier of one modality."""
        return replace(self, config=replace(self.config, fusion=modality, options={}))

    def train(self, labels: PseudoLabels) -> FoldResult:
        """Train on the labelled rows and the pseudo-labelled ones."""
        known = list(self.table.posts.labels)
        for row, target in zip(labels.rows, labels.targets, strict=True):
            known[row] = self.table.classes[target]
        table = replace(self.table, posts=replace(self.table.posts, labels=known))
        fold = replace(self.fold, train=np.concatenate([self.fold.train, labels.rows]))
        return train_folds(table, [fold], self.config, self.training, device=self.device, epoch_done=self.epoch_done)[0]

    def predict(self, result: FoldResult, number: int) -> PseudoLabels:
        """The most confident predictions of the trained heads in round `number`, counted from 1."""
        views = prediction_views(self.table, self.config, result.reductions, self.device)
        with training_threads(1 if self.device == "cpu" else torch.get_num_threads()):
            probabilities = softmax(log_mean(view_logits(result.heads, views, self.rows)))
        targets = self.table.targets()[self.fold.train]
        shares = np.bincount(targets, minlength=len(self.table.classes)) / len(targets)
        most = self.pseudo.share * len(self.rows) * number / self.pseudo.rounds
        return most_confident(probabilities, self.rows, shares, threshold=self.pseudo.threshold, most=most)


def _self_train(trainer: _Trainer) -> PseudoLabels:
    labels = NONE
    for number in range(1, trainer.pseudo.rounds + 1):
        labels = trainer.predict(trainer.train(labels), number)
    return labels


def _cotrain(trainer: _Trainer) -> PseudoLabels:
    labels: dict[Modality, PseudoLabels] = {"image": NONE, "text": NONE}
    for number in range(1, trainer.pseudo.rounds + 1):
        results = {name: trainer.alone(name).train(labels[OTHER[name]]) for name in labels}
        labels = {name: trainer.alone(name).predict(results[name], number) for name in labels}
    return merge(labels["image"], labels["text"])
