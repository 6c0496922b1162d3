"""How a head is trained: every setting of a training, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args, get_type_hints

from ..metrics.scores import METRICS


@dataclass(frozen=True)
class TrainConfig:
    """How a head is trained.

    `metric` picks the best epoch on the validation rows: one of METRICS, or "loss". `patience` epochs without a better
    one end the training; 0 trains all epochs. `clip` bounds the gradient's norm; 0 leaves it as it is.

    `schedule`: after `warmup` epochs, "cosine" lets the learning rate fall to `min_lr`, "restarts" does so anew every
    `restart_every` epochs (Loshchilov & Hutter, 2017), "onecycle" rises for three tenths of the training and falls to
    nothing (Smith, 2018; it needs no warm-up of its own), "constant" stays.

    `loss` "focal" is the sigmoid focal loss with `gamma`. `logit_adjustment` is τ of Menon et al., 2021; 0: off.
    `balance` "weights" weighs each class by its inverse frequency among the training rows, "sampler" draws rows so
    that classes are equally frequent. `tune_thresholds` moves the decision between classes to where `metric` (macro-F1
    if that is the loss) is best on the validation rows.

    `modality_dropout` hides one modality of a training row with this probability; `mixup` blends rows by a share
    drawn from Beta(mixup, mixup) (Zhang et al., 2018); 0: off. `average` "ema" keeps a moving average of the weights
    with `decay`, "swa" their mean over the second half of the epochs (Izmailov et al., 2018).

    Raises ValueError naming the first field that is out of range.
    """

    epochs: int = 40
    batch_size: int = 64
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 3e-4
    weight_decay: float = 1e-2
    schedule: Literal["cosine", "constant", "restarts", "onecycle"] = "cosine"
    warmup: float = 1.0
    restart_every: int = 10
    min_lr: float = 0.0
    clip: float = 1.0
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    gamma: float = 2.0
    label_smoothing: float = 0.0
    logit_adjustment: float = 0.0
    balance: Literal["none", "weights", "sampler"] = "none"
    modality_dropout: float = 0.0
    mixup: float = 0.0
    average: Literal["none", "ema", "swa"] = "none"
    decay: float = 0.99
    patience: int = 6
    metric: str = "loss"
    tune_thresholds: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        finite = math.inf
        checks = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "lr": (0 < self.lr < finite, "above 0"),
            "weight_decay": (0 <= self.weight_decay < finite, "0 or more"),
            "warmup": (0 <= self.warmup < finite, "0 or more epochs"),
            "restart_every": (self.restart_every >= 1, "1 epoch or more"),
            "min_lr": (0 <= self.min_lr <= self.lr, f"between 0 and lr ({self.lr!r})"),
            "clip": (0 <= self.clip < finite, "0 (off) or more"),
            "gamma": (0 <= self.gamma < finite, "0 or more"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "at least 0 and below 1"),
            "logit_adjustment": (0 <= self.logit_adjustment < finite, "0 (off) or more"),
            "modality_dropout": (0 <= self.modality_dropout < 1, "at least 0 and below 1"),
            "mixup": (0 <= self.mixup < finite, "0 (off) or more"),
            "decay": (0 <= self.decay < 1, "at least 0 and below 1"),
            "patience": (self.patience >= 0, "0 (never stop early) or more"),
            "metric": (self.metric in (*METRICS, "loss"), f"one of {', '.join((*METRICS, 'loss'))}"),
            "seed": (0 <= self.seed < 2**63, "0 or more"),
        }
        for field, choices in _choices().items():
            checks[field] = (getattr(self, field) in choices, f"one of {', '.join(map(str, choices))}")
        for field, (holds, wanted) in checks.items():
            if not holds:
                raise ValueError(f"{field} must be {wanted}, got {getattr(self, field)!r}")

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of one step, counted from 0."""
        total, warm = self.epochs * steps_per_epoch, self.warmup * steps_per_epoch
        if self.schedule == "onecycle":
            rise = max(1.0, 0.3 * total)
            if step < rise:
                return _between(self.lr / 25, self.lr, step / rise)
            return _between(self.lr, self.lr / 1e4, (step - rise) / max(1.0, total - rise))
        if step < warm:
            return self.lr * min(1.0, (step + 1) / warm)
        if self.schedule == "constant":
            return self.lr
        span = self.restart_every * steps_per_epoch if self.schedule == "restarts" else max(1.0, total - warm)
        return _between(
            self.lr, self.min_lr, ((step - warm) % span if self.schedule == "restarts" else step - warm) / span
        )


@cache
def _choices() -> dict[str, tuple[str, ...]]:
    """The values of every field that is a choice; a sweep makes thousands of configs, and hints are slow to read."""
    return {field: get_args(hint) for field, hint in get_type_hints(TrainConfig).items() if get_args(hint)}


def _between(start: float, end: float, share: float) -> float:
    """Half a cosine from start to end; share 0..1."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
