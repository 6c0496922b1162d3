"""How a head is trained: every setting of a training, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ...features.setting import check, setting

MOST_EPOCHS = 100_000


def metrics() -> tuple[str, ...]:
    """Names of the metrics that training can be judged by."""
    from ..metrics.scores import METRICS  # NumPy is slow to import, and `--help` must not wait for it

    return tuple(METRICS)


def metrics_and_loss() -> tuple[str, ...]:
    """What may pick the best epoch."""
    return (*metrics(), "loss")


@dataclass(frozen=True)
class TrainConfig:
    """How a head is trained. Raises ValueError naming the first field that is out of range.

    `schedule`: after `warmup` epochs, "cosine" lets the learning rate fall to `min_lr`, "restarts" does so every
    `restart_every` epochs (Loshchilov & Hutter, 2017), "onecycle" rises for three tenths of the training and falls to
    almost 0 (Smith, 2018; it needs no warm-up of its own), "constant" stays.

    `loss` "focal" is the sigmoid focal loss with `gamma`, "emd" the squared earth mover's distance between levels.
    `logit_adjustment` is τ of Menon et al., 2021; 0: off.
    `balance` "weights" weights each class by its inverse frequency among the training rows, "sampler" samples rows so
    that classes are equally frequent. `tune_thresholds` moves the decision thresholds to where `metric` (macro-F1 if
    that is the loss) is best on the validation rows.

    `mixup` blends rows by a share drawn from Beta(mixup, mixup) (Zhang et al., 2018). `average` "ema" keeps a moving
    average of the weights with `decay`, "swa" their mean over the second half of the epochs (Izmailov et al., 2018).
    """

    epochs: int = setting(40, "Most epochs.", minimum=1, maximum=MOST_EPOCHS)
    batch_size: int = setting(64, "Posts per training step.", minimum=1)
    optimizer: Literal["adamw", "adam", "sgd"] = setting(
        "adamw", "Optimizer; SGD with Nesterov momentum 0.9.", flags=("--optimizer", "--optimiser")
    )
    lr: float = setting(3e-4, "Learning rate.", flags=("--lr", "--learning-rate"), above=0)
    weight_decay: float = setting(1e-2, "Weight decay.", minimum=0)
    schedule: Literal["cosine", "constant", "restarts", "onecycle"] = setting("cosine", "Learning rate schedule.")
    warmup: float = setting(1.0, "Epochs of warm-up; not with onecycle.", minimum=0, unit="epochs")
    restart_every: int = setting(10, "Epochs between warm restarts.", minimum=1, unit="epochs")
    min_lr: float = setting(0.0, "Lowest learning rate of cosine and restarts.", minimum=0)
    clip: float = setting(1.0, "Largest norm of the gradient.", minimum=0, zero="no limit")
    loss: Literal["cross-entropy", "focal", "emd"] = setting(
        "cross-entropy", "Loss; focal is sigmoid focal loss, emd is for ordinal labels (--class-order)."
    )
    gamma: float = setting(2.0, "Focal loss: how much easy posts are down-weighted.", minimum=0)
    label_smoothing: float = setting(0.0, "Share of a label spread over all classes.", minimum=0, below=1)
    logit_adjustment: float = setting(0.0, "Logit adjustment for rare classes; 1: full.", minimum=0, zero="off")
    balance: Literal["none", "weights", "sampler"] = setting("none", "Rare classes: weight or oversample them.")
    modality_dropout: float = setting(0.0, "Probability of hiding a modality in training.", minimum=0, below=1)
    mixup: float = setting(0.0, "Mix posts by a share from Beta(x, x).", minimum=0, zero="off")
    average: Literal["none", "ema", "swa"] = setting("none", "Average the weights over steps (ema) or epochs (swa).")
    decay: float = setting(0.99, "Decay of the moving average (ema).", minimum=0, below=1)
    patience: int = setting(6, "Epochs without improvement until training stops.", minimum=0, zero="never stop early")
    metric: str = setting("loss", "Metric on the validation rows that picks the epoch.", choices=metrics_and_loss)
    tune_thresholds: bool = setting(False, "Move the decision thresholds to the best metric on the validation rows.")
    seed: int = setting(0, "Random seed of the split, the weights and the order.", minimum=0, below=2**32)

    def __post_init__(self) -> None:
        check(self)
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr must be between 0 and lr ({self.lr!r}), got {self.min_lr!r}")

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


def _between(start: float, end: float, share: float) -> float:
    """Half a cosine from start to end; share 0..1."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
