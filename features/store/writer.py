"""Writes the embeddings of one encoder as parts of its store."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .parts import KEY, EmbeddingBlock, write_part
from .store import FLUSH_BYTES, Store

FLUSH_SECONDS = 30.0
BLOCK_ROWS = 64
NO_TOKENS: NDArray[Any] = np.empty(0)


class Writer:
    """Collects embeddings and publishes them as parts, at the latest every `flush_seconds`."""

    def __init__(self, store: Store, *, tokens: bool, flush_seconds: float = FLUSH_SECONDS) -> None:
        self.store = store
        self.tokens = tokens
        self.flush_seconds = flush_seconds
        self._clear()

    def _clear(self) -> None:
        self._rows: list[tuple[bytes, NDArray[np.float32], NDArray[Any]]] = []
        self._bytes = 0
        self._seconds = 0.0
        self._since = time.monotonic()

    def add(
        self, key: str, pooled: NDArray[np.float32], tokens: NDArray[Any] | None, *, seconds: float = math.nan
    ) -> None:
        """Add one embedding: pooled (D,), tokens (T, D); and the `seconds` that extracting it took, if known."""
        if not self.tokens:
            tokens = NO_TOKENS
        assert tokens is not None
        self._rows.append((key.encode(), pooled, tokens))
        self._bytes += pooled.nbytes + tokens.nbytes
        self._seconds += seconds
        if self._bytes >= FLUSH_BYTES or time.monotonic() - self._since >= self.flush_seconds:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait as one part, durably."""
        if self._rows:
            store, rows, seconds = self.store, len(self._rows), self._seconds
            count = sum(len(tokens) for _, _, tokens in self._rows) if self.tokens else None
            write_part(store.folder, store.spec, self._blocks(), rows=rows, token_rows=count, seconds=seconds)
        self._clear()

    def _blocks(self) -> Iterator[EmbeddingBlock]:
        """The collected rows, a few at a time, so that they are never in memory twice."""
        for start in range(0, len(self._rows), BLOCK_ROWS):
            keys, pooled, tokens = zip(*self._rows[start : start + BLOCK_ROWS], strict=True)
            rows = EmbeddingBlock(np.array(keys, KEY), np.stack(pooled))
            if self.tokens:
                offsets = np.cumsum([0, *map(len, tokens)]).astype(np.int64)
                rows = replace(rows, tokens=np.concatenate(tokens), offsets=offsets)
            yield rows
