"""How an encoder is fine-tuned: every setting of it, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...features.setting import check, setting
from .train_config import MOST_EPOCHS, metrics_and_loss


@dataclass(frozen=True)
class TuneConfig:
    """How an encoder is tuned; after the `warmup` the learning rates fall to 0.

    Raises ValueError naming the first field that is out of range.
    """

    epochs: int = setting(5, "Most epochs.", minimum=1, maximum=MOST_EPOCHS)
    batch_size: int = setting(32, "Posts per training step.", minimum=1)
    lr: float = setting(2e-5, "Learning rate of the encoder (AdamW).", flags=("--lr", "--learning-rate"), above=0)
    head_lr: float = setting(1e-3, "Learning rate of the linear classifier on it.", above=0)
    weight_decay: float = setting(1e-2, "Weight decay.", minimum=0)
    warmup: float = setting(0.1, "Share of the steps in which the learning rates rise.", minimum=0, maximum=1)
    clip: float = setting(1.0, "Largest norm of the gradient.", above=0)
    patience: int = setting(2, "Epochs without improvement until training stops.", minimum=0, zero="never stop early")
    metric: str = setting("loss", "Metric on the validation rows that picks the epoch.", choices=metrics_and_loss)
    balance: Literal["none", "weights"] = setting("none", "Class weights by inverse frequency.")
    seed: int = setting(0, "Random seed of the split, the weights and the order.", minimum=0, below=2**32)

    def __post_init__(self) -> None:
        check(self)
