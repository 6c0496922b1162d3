"""batches.csv has a line for each batch of each head, in the order of training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from msa.pipeline.runs.batch_losses import batches_csv
from msa.pipeline.training.loop import EpochRecord


def test_batches_are_counted_from_1_in_each_epoch() -> None:
    history = [EpochRecord(epoch, {}, {}, 0.1, 0.0, losses) for epoch, losses in ((1, (0.5, 0.25)), (2, (0.125,)))]
    results: list[Any] = [SimpleNamespace(histories=[history, []]), SimpleNamespace(histories=[history[1:]])]
    assert batches_csv(results).splitlines() == [
        "fold,member,epoch,batch,loss",
        "0,0,1,1,0.5",
        "0,0,1,2,0.25",
        "0,0,2,1,0.125",
        "1,0,2,1,0.125",
    ]
