"""One head trained over the folds of one data set: the unit that train-head, ablate and sweep are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..features.encoders import Modality
from ..heads.base import Head, Inputs
from ..heads.registry import build_head, head_info
from .baselines import linear_probe, majority, pooled_matrix
from .data import FeatureTable, Grid
from .evaluate import score
from .inputs import Reduction, build_inputs, build_views, dims_of, fit_reductions, towers_of
from .resume import Keeper
from .split import STOP_PARTS, Fold, members_of
from .train import EpochRecord, TrainConfig, fit, predict_logits, training_threads

MEMBER_SEEDS = 1000  # distance between the seeds of a fold's heads
FoldDone = Callable[[int, int], None]
Keepers = Callable[[int, int], Keeper]  # fold and member number to what keeps that training


@dataclass(frozen=True)
class HeadConfig:
    """Which head, on which inputs. `token_width` is the width that tokens are projected to (None: their own).

    `members` heads are trained per fold, each from its own seed and stopped on other rows (with more than ten, the
    eleventh on the first one's), and their probabilities averaged. `views`
    augmented views of each image are trained on beside the plain one; `average_views` scores with the mean of the
    probabilities over the plain image and all of them, instead of the plain one alone.
    """

    fusion: str = "attention"
    inputs: Literal["auto", "pooled", "tokens"] = "auto"
    hidden: int = 128
    dropout: float = 0.5
    patches: Grid | None = (4, 4)
    token_width: int | None = 256
    members: int = 1
    views: int = 0
    average_views: bool = False
    options: Mapping[str, int | float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        head_info(self.fusion)
        if self.inputs not in ("auto", "pooled", "tokens"):
            raise ValueError(f"inputs must be auto, pooled or tokens; got {self.inputs!r}")
        if self.members < 1:
            raise ValueError(f"an ensemble has 1 head per fold or more; got {self.members}")
        if self.views < 0:
            raise ValueError(f"views must be 0 (the plain image alone) or more; got {self.views}")
        if self.average_views and not self.views:
            raise ValueError("--average-views has nothing to average; add --views N, as many as were extracted")

    @property
    def tokens(self) -> bool:
        """Whether the head sees tokens: what was asked for, or what suits it."""
        return (head_info(self.fusion).inputs if self.inputs == "auto" else self.inputs) == "tokens"


@dataclass(frozen=True)
class FoldResult:
    """One fold's trained heads and what they say together of its scored rows: logits (n, K), in the order of `score`.

    `histories` and `best_epochs` have one entry per head. Logits of several heads, or views, are the log of their
    mean probability. `stop_logits` (S, K) are what each head says of the rows that it was stopped on, `stop_rows` (S,).
    """

    fold: Fold
    heads: list[Head]
    reductions: dict[str, Reduction]
    histories: list[list[EpochRecord]]
    best_epochs: list[int]
    logits: NDArray[np.float32]
    metrics: dict[str, float]
    stop_rows: NDArray[np.int64]
    stop_logits: NDArray[np.float32]


def train_folds(
    table: FeatureTable,
    folds: Sequence[Fold],
    config: HeadConfig,
    training: TrainConfig,
    *,
    without: Modality | None = None,
    device: str = "cpu",
    done: FoldDone = lambda number, total: None,
    keepers: Keepers | None = None,
) -> list[FoldResult]:
    """Train and score the head on every fold; `without` hides one modality from training and scoring alike.

    With `keepers`, trainings that were cut off go on.
    """
    results = []
    with training_threads(1 if device == "cpu" else torch.get_num_threads()):
        for number, fold in enumerate(folds):
            kept = None if keepers is None else partial(keepers, number)
            results.append(_train_fold(table, fold, config, training, without=without, device=device, kept=kept))
            done(number + 1, len(folds))
    return results


def _train_fold(
    table: FeatureTable,
    fold: Fold,
    config: HeadConfig,
    training: TrainConfig,
    *,
    without: Modality | None,
    device: str,
    kept: Callable[[int], Keeper] | None,
) -> FoldResult:
    labels = table.targets()
    towers = towers_of(table.specs, tokens=config.tokens)
    if towers.vocabulary and training.mixup:
        raise ValueError("mixup blends vectors, and word pieces are numbers; leave --mixup out, or use a text encoder")
    parts = members_of(table.posts, fold, count=min(config.members, STOP_PARTS), seed=training.seed)
    members = list(islice(cycle(parts), config.members))
    trained = np.unique(np.concatenate([member.train for member in members]))
    reductions = fit_reductions(table, trained, width=config.token_width, tokens=config.tokens)
    inputs = build_inputs(table, tokens=config.tokens, reductions=reductions, without=without)
    inputs = Inputs(*(tensor.to(device) for tensor in inputs))
    views = build_views(table, inputs, tokens=config.tokens, reductions=reductions)
    scored = [inputs, *views] if config.average_views else [inputs]
    heads, histories, best_epochs, chances, stopped = [], [], [], [], []
    for number, member in enumerate(members):
        settings = replace(training, seed=training.seed + number * MEMBER_SEEDS)
        head = build_head(
            config.fusion,
            dims_of(inputs, len(table.classes)),
            hidden=config.hidden,
            dropout=config.dropout,
            seed=settings.seed,
            towers=towers,
            **config.options,
        ).to(device)
        fitted = fit(
            head,
            inputs,
            torch.from_numpy(labels).to(device),
            train_rows=member.train,
            stop_rows=member.stop,
            config=settings,
            views=views,
            keeper=kept(number) if kept else None,
        )
        heads.append(head)
        histories.append(fitted.history)
        best_epochs.append(fitted.best_epoch)
        chances += [predict_logits(head, seen, fold.score).cpu().numpy() for seen in scored]
        stopped.append(log_mean([predict_logits(head, seen, member.stop).cpu().numpy() for seen in scored]))
    logits = log_mean(chances)
    metrics = score(labels[fold.score], logits.argmax(1), table.classes)
    stop_rows, stop_logits = np.concatenate([member.stop for member in members]), np.concatenate(stopped)
    return FoldResult(fold, heads, reductions, histories, best_epochs, logits, metrics, stop_rows, stop_logits)


def baseline_metrics(table: FeatureTable, folds: Sequence[Fold], *, seed: int) -> dict[str, list[dict[str, float]]]:
    """The majority class and the linear probe on pooled vectors, scored on the same rows: metrics per fold."""
    matrix = pooled_matrix(build_inputs(table, tokens=False))
    labels = table.targets()
    found: dict[str, list[dict[str, float]]] = {"majority": [], "linear": []}
    for fold in folds:
        truth = labels[fold.score]
        guess = majority(labels[fold.train], len(truth))
        probed = linear_probe(
            matrix[fold.train],
            labels[fold.train],
            matrix[fold.stop],
            labels[fold.stop],
            matrix[fold.score],
            classes=len(table.classes),
            seed=seed,
        )
        found["majority"].append(score(truth, guess, table.classes))
        found["linear"].append(score(truth, probed.predictions, table.classes))
    return found


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities (n, K) of logits (n, K)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def log_mean(logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Logits (n, K) whose softmax is the mean of the softmax of each of the given logits (n, K); of one, itself."""
    if len(logits) == 1:
        return logits[0]
    mean = np.mean([softmax(one) for one in logits], axis=0)
    return np.asarray(np.log(np.maximum(mean, np.finfo(np.float64).tiny)), np.float32)
