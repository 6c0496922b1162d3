"""Where to decide between classes: an offset per class, found on rows that are never scored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .scores import score

ROUNDS = 3
STEPS = np.linspace(-1.5, 1.5, 31)  # offsets in natural-log units of probability; 0 stays


def tune_offsets(logits: NDArray[np.float32], labels: NDArray[np.int64], *, metric: str) -> NDArray[np.float32]:
    """Offsets (K,) to add to logits (n, K) so that `metric` (a key of METRICS) is best; the last class's is 0.

    Coordinate search, class by class. Among equals the smallest offset wins, so what changes nothing stays 0.
    """
    classes = logits.shape[1]
    offsets = np.zeros(classes, np.float32)
    best = score(labels, logits.argmax(1), range(classes))[metric]
    for _ in range(ROUNDS):
        before = offsets.copy()
        for k in range(classes - 1):
            for step in sorted(STEPS, key=abs):
                tried = offsets.copy()
                tried[k] = step
                value = score(labels, (logits + tried).argmax(1), range(classes))[metric]
                if value > best + 1e-12:
                    best, offsets = value, tried
        if np.array_equal(before, offsets):
            break
    return offsets
