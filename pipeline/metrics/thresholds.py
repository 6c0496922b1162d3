"""Decision thresholds: an offset per class, tuned on validation rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .scores import score

TUNING_ROUNDS = 3
STEPS = np.linspace(-1.5, 1.5, 31)  # offsets in units of log-probability


def tune_offsets(logits: NDArray[np.float32], labels: NDArray[np.int64], *, metric: str) -> NDArray[np.float32]:
    """Offsets (K,) that maximise `metric` (a key of METRICS) when added to logits (n, K); the last one is 0.

    Coordinate search, class by class. The smallest of equally good offsets is kept.
    """
    classes = logits.shape[1]
    offsets = np.zeros(classes, np.float32)
    best = score(labels, logits.argmax(1), range(classes))[metric]
    for _ in range(TUNING_ROUNDS):
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
