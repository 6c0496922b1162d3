"""Splits the wall time of an extraction among the encoders that share it, by the time each spends in its model."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class CostMeter:
    """Measures wall time, reading and decoding included, and splits it in proportion to each encoder's busy time."""

    def __init__(self) -> None:
        self.split_at = time.perf_counter()
        self.busy: dict[Hashable, float] = defaultdict(float)  # since `split_at`
        self.spent: dict[Hashable, float] = defaultdict(float)  # split, not yet taken
        self.lock = threading.Lock()

    @contextmanager
    def computing(self, encoder: Hashable) -> Iterator[None]:
        """Count the time inside as the encoder's; several threads may be inside at once."""
        started = time.perf_counter()
        yield
        with self.lock:
            self.busy[encoder] += time.perf_counter() - started

    def take(self, encoder: Hashable) -> float:
        """Seconds of wall time that fell to an encoder since the last call."""
        with self.lock:
            now, total = time.perf_counter(), sum(self.busy.values())
            if total:
                for other, busy in self.busy.items():
                    self.spent[other] += (now - self.split_at) * busy / total
                self.busy.clear()
                self.split_at = now
            return self.spent.pop(encoder, 0.0)
