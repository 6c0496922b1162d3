"""A sweep that trains in threads and is interrupted ends after the epoch that its heads are in."""

from __future__ import annotations

from pathlib import Path

import pytest
from cached_posts import cached_posts
from cached_sweeps import CONCAT, stage

from msa.pipeline.config.search_config import Search
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.sweeps import engine
from msa.pipeline.sweeps.chunk import Chunk
from msa.pipeline.sweeps.space import read_space
from msa.pipeline.sweeps.sweep import sweep

ENDLESS = TrainConfig(epochs=100_000, batch_size=16, patience=0)


def test_an_interruption_does_not_wait_for_the_rung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posts = cached_posts(tmp_path)
    train_to, begun = Chunk.train_to, list[int]()

    def interrupted(self: Chunk, epoch: int, *others: object) -> object:
        begun.append(epoch)
        if len(begun) == 2:  # the first one trains already, in its own thread
            raise KeyboardInterrupt
        return train_to(self, epoch, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(Chunk, "train_to", interrupted)
    monkeypatch.setattr(engine, "available_cores", lambda: 2)
    space = read_space(["hidden=4,8"], file=None)
    data = stage(posts, folds=None)
    with pytest.raises(KeyboardInterrupt):
        sweep(posts, data, space, CONCAT, ENDLESS, Search(inner=2, halving=0), runs=tmp_path / "runs", fused=False)
    assert begun == [ENDLESS.epochs] * len(begun)
