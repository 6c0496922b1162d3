"""Shapley values of two modalities."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", float, NDArray[np.float64])


def shapley_pair(neither: Value, image: Value, text: Value, both: Value) -> tuple[Value, Value]:
    """Shapley values of image and text: each one's gain, averaged over adding it first and second (Shapley, 1953)."""
    return ((image - neither) + (both - text)) / 2, ((text - neither) + (both - image)) / 2
