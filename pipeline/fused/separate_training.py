"""Heads that train each alone by `fit`, paused and resumed as fused ones are."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...heads.base import Head
from ..config.train_config import TrainConfig
from ..data.ragged_inputs import RaggedInputs
from ..data.split import Fold
from ..training.batches import Rows
from ..training.checkpointing import Checkpointer
from ..training.loop import EpochDone, EpochRecord, FitResult, fit
from ..training.predictions import view_logits


class SeparateTraining:
    """Trains each head alone, with the methods of `FusedTraining`."""

    def __init__(
        self, heads: Sequence[Head], configs: Sequence[TrainConfig], inputs: RaggedInputs, labels: Tensor, fold: Fold
    ) -> None:
        self.heads: list[Head | None] = list(heads)
        self.configs, self.labels, self.rows = configs, labels, {"train_rows": fold.train, "valid_rows": fold.valid}
        self.errors: list[ValueError | None] = [None] * len(heads)
        self.paused = [MemoryCheckpointer() for _ in heads]
        self.trained: list[tuple[Head, FitResult] | None] = [None] * len(heads)

    def train_to(
        self,
        epoch: int,
        inputs: RaggedInputs,
        views: Sequence[RaggedInputs] = (),
        epoch_done: EpochDone = lambda record: None,
    ) -> None:
        """Train every head up to an epoch, unless it has stopped; `epoch_done` gets each record of each head."""
        for number, head in enumerate(self.heads):
            if head is None or self.errors[number]:
                continue
            copied = copy.deepcopy(head)
            how = {
                "config": self.configs[number],
                "checkpointer": self.paused[number],
                "until": epoch,
                "epoch_done": epoch_done,
            }
            try:
                result = fit(copied, inputs, self.labels, **self.rows, **how, views=views)  # type: ignore[arg-type]
            except ValueError as error:
                self.errors[number] = error
            else:
                self.trained[number] = copied, result

    def drop(self, number: int) -> None:
        """Train a head no further, and free its memory."""
        self.heads[number] = self.trained[number] = None
        self.paused[number] = MemoryCheckpointer()

    def finish(self, number: int, inputs: RaggedInputs) -> tuple[Head, FitResult]:
        """A head with the weights of its best epoch, calibrated, and what was done. Raises its error."""
        if error := self.errors[number]:
            raise error
        trained = self.trained[number]
        assert trained is not None
        return trained

    def logits(
        self, numbers: Sequence[int], inputs: RaggedInputs, views: Sequence[RaggedInputs], rows: Rows
    ) -> list[list[NDArray[np.float32]]]:
        """Logits (n, K) of `rows` on each of the views by each of these heads."""
        return [view_logits([self.finish(number, inputs)[0]], views, rows) for number in numbers]

    def history(self, number: int) -> list[EpochRecord]:
        """The epochs of a head."""
        trained = self.trained[number]
        return trained[1].history if trained else []


@dataclass(frozen=True)
class MemoryCheckpointer(Checkpointer):
    """Keeps the state of a paused training in memory."""

    path: Path = Path()
    every: int = 0
    stored: dict[str, Any] = field(default_factory=dict)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The stored state, which `fit` may change; None before the first pause."""
        return copy.deepcopy(self.stored) or None

    def save(self, epoch: int, state: dict[str, Any], *, last: bool) -> None:
        """Store the state at a pause."""
        if last:
            self.stored.update(copy.deepcopy(state))
