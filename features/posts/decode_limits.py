"""Bounds on decoding: reads of one file by Pillow's Python code, and memory of all images that are decoded at once."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from ..spec import BadItem

MAX_READS = 200_000  # of one file; Pillow reads headers and blocks one by one, at about a microsecond each
MEMORY = 2_000_000_000  # bytes that decoded images may take together


class LimitedReader(io.BytesIO):
    """A file in memory that raises BadItem once it was read in too many pieces."""

    reads = 0
    counted = True

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file. Raises BadItem for a file that is read more often than any sound image is."""
        self.reads += self.counted
        if self.reads > MAX_READS:
            raise BadItem(f"over {MAX_READS} fill bytes or blocks")
        return super().read(size)


class MemoryBudget:
    """A semaphore in bytes, shared by threads; more than all of it waits until nobody else holds any."""

    def __init__(self, total: int) -> None:
        self.total = self.free = total
        self.changed = Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Wait until so much is free, and keep it for the context. A thread holds one share at a time."""
        size = min(size, self.total)
        with self.changed:
            self.changed.wait_for(lambda: self.free >= size)
            self.free -= size
        try:
            yield
        finally:
            with self.changed:
                self.free += size
                self.changed.notify_all()
