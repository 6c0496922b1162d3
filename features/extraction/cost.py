"""What an extraction takes each of the encoders that share it: the wall time, dealt out by their time in the model."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Clock:
    """The wall time from now on, reading and decoding included, dealt out among those who compute meanwhile."""

    def __init__(self) -> None:
        self.dealt = time.perf_counter()
        self.busy: dict[Hashable, float] = defaultdict(float)  # since wall time was dealt out last
        self.spent: dict[Hashable, float] = defaultdict(float)  # and not yet taken
        self.lock = threading.Lock()

    @contextmanager
    def computing(self, who: Hashable) -> Iterator[None]:
        """Somebody computes inside; several may at once, in threads."""
        started = time.perf_counter()
        yield
        with self.lock:
            self.busy[who] += time.perf_counter() - started

    def take(self, who: Hashable) -> float:
        """The seconds of wall time that are somebody's, and were not taken yet."""
        with self.lock:
            now, whole = time.perf_counter(), sum(self.busy.values())
            if whole:
                for one, busy in self.busy.items():
                    self.spent[one] += (now - self.dealt) * busy / whole
                self.busy.clear()
                self.dealt = now
            return self.spent.pop(who, 0.0)
