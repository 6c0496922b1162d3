"""batches.csv of a run: the training loss of every batch."""

from __future__ import annotations

from collections.abc import Sequence

from ...features.csv_text import to_csv
from ..training.folds import FoldResult


def batches_csv(results: Sequence[FoldResult]) -> str:
    """One line per fold, head and batch in the order of training: epoch, number of the batch in it from 1, loss."""
    lines = [
        [number, member, record.epoch, batch, round(loss, 6)]
        for number, result in enumerate(results)
        for member, history in enumerate(result.histories)
        for record in history
        for batch, loss in enumerate(record.batch_losses, 1)
    ]
    return to_csv(["fold", "member", "epoch", "batch", "loss"], lines)
