"""How an encoder is fine-tuned: every setting of it, checked once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ...features.setting import check, setting
from .train_config import MOST_EPOCHS, metrics_and_loss

WHOLE_LR, LORA_LR = 2e-5, 5e-4  # usual rates: of whole weights, and of adapters, which begin at zero
RANK = 8


@dataclass(frozen=True)
class TuneConfig:
    """How an encoder is tuned; after the `warmup` the learning rates fall to 0.

    `layers` "last:2" trains the last two blocks (of a convolutional network, stages) and what follows them, all others
    stay as they are. `lora` trains low-rank adapters of these layers instead of their weights (Hu et al., 2021); they
    are merged into the weights at the end. Raises ValueError naming the first field that is out of range.
    """

    epochs: int = setting(5, "Most epochs.", minimum=1, maximum=MOST_EPOCHS)
    batch_size: int = setting(32, "Posts per training step.", minimum=1)
    lr: float = setting(
        0.0,
        "Learning rate of the encoder (AdamW).",
        flags=("--lr", "--learning-rate"),
        minimum=0,
        zero=f"{WHOLE_LR:g}, with --lora {LORA_LR:g}",
    )
    head_lr: float = setting(1e-3, "Learning rate of the classifier on it.", above=0)
    layers: str = setting("all", "Layers that are trained: all, or last:N for the last N blocks.")
    lora: bool = setting(False, "Train low-rank adapters (LoRA) instead of the weights.")
    lora_rank: int = setting(RANK, "Rank of the adapters.", minimum=1, maximum=1024)
    weight_decay: float = setting(1e-2, "Weight decay.", minimum=0)
    warmup: float = setting(0.1, "Share of the steps in which the learning rates rise.", minimum=0, maximum=1)
    clip: float = setting(1.0, "Largest norm of the gradient.", above=0)
    patience: int = setting(2, "Epochs without improvement until training stops.", minimum=0, zero="never stop early")
    metric: str = setting("loss", "Metric on the validation rows that picks the epoch.", choices=metrics_and_loss)
    balance: Literal["none", "weights"] = setting("none", "Class weights by inverse frequency.")
    seed: int = setting(0, "Random seed of the split, the weights and the order.", minimum=0, below=2**32)

    def __post_init__(self) -> None:
        check(self)
        if not re.fullmatch(r"all|last:[1-9]\d*", self.layers):
            raise ValueError(f"--layers of msa finetune wants all, or last:N as last:2; got {self.layers!r}")
        if self.lora_rank != RANK and not self.lora:
            raise ValueError(f"lora_rank {self.lora_rank} is for adapters; add --lora, or leave --lora-rank out")

    @property
    def encoder_lr(self) -> float:
        """The learning rate of the encoder: what was asked for, or what suits the weights that are trained."""
        return self.lr or (LORA_LR if self.lora else WHOLE_LR)

    @property
    def last_blocks(self) -> int | None:
        """How many of the last blocks are trained; None: the whole encoder."""
        return None if self.layers == "all" else int(self.layers.partition(":")[2])
