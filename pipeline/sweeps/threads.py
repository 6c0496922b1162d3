"""The engine that trains a sweep's heads in threads of this process."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import torch

from ...features.encoders.runtime import available_cores
from ..training.fold_inputs import InputsCache
from ..training.loop import training_threads
from .chunk import Result, Trained, Work


class Threads:
    """One thread for each core, or one for a GPU."""

    def __init__(self, device: str) -> None:
        self.device, self.threads = device, available_cores() if device == "cpu" else 1

    def train_to(self, epoch: int, work: Sequence[Work]) -> Trained:
        """Train every chunk to an epoch; yield the results of each chunk as soon as it has finished."""
        tables = {id(one.table): one.table for one in work}
        caches = {
            name: InputsCache(table, [one.chunk.inputs_key for one in work if one.table is table], self.device)
            for name, table in tables.items()
        }

        def train(one: Work) -> list[tuple[int, Result]]:
            one.chunk.keep(one.active)
            return one.chunk.train_to(epoch, one.active, caches[id(one.table)])

        with training_threads(1 if self.device == "cpu" else torch.get_num_threads()):
            pool = ThreadPoolExecutor(self.threads)
            try:
                running = {pool.submit(train, one): one for one in work}
                for future in as_completed(running):
                    yield running[future].by_head(future.result())
            finally:
                pool.shutdown(cancel_futures=True)
