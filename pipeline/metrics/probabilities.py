"""Probabilities of logits, and the mean of several predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities (n, K) of logits (n, K)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def log_mean(logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Logits (n, K) whose softmax is the mean of the softmax of each of the given logits (n, K); of one, itself."""
    if len(logits) == 1:
        return logits[0]
    mean = np.mean([softmax(one) for one in logits], axis=0)
    return np.asarray(np.log(np.maximum(mean, np.finfo(np.float64).tiny)), np.float32)


def mean_probabilities(
    logits: Sequence[NDArray[np.float32]], temperatures: Sequence[float] = ()
) -> NDArray[np.float64]:
    """The mean (n, K) of the softmax of each of the given logits (n, K), each divided by its temperature, if any."""
    divisors = temperatures or [1.0] * len(logits)
    scaled = [softmax(one / np.float32(divisor)) for one, divisor in zip(logits, divisors, strict=True)]
    return np.asarray(np.mean(scaled, axis=0))
