"""Maps of image tokens, averaged to a coarser grid of patches."""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

from ..config.values import Grid


def coarsen(tokens: NDArray[np.floating], grid: Grid) -> NDArray[np.float32]:
    """Average a square map of tokens (T, D) down to rows x columns; a leading class token is left out.

    Cells are those of adaptive average pooling. A map that is already as coarse is returned as it is. Raises ValueError
    for no square map.
    """
    side = isqrt(len(tokens))
    if side * side != len(tokens):
        side = isqrt(len(tokens) - 1)
        if side * side != len(tokens) - 1:
            raise ValueError(f"{len(tokens)} image tokens are no square map; use --patches none")
        tokens = tokens[1:]
    if grid[0] > side or grid[1] > side:
        raise ValueError(
            f"--patches {grid[0]}x{grid[1]} is finer than the encoder's {side}x{side} map; use --patches none"
        )
    image = tokens.reshape(side, side, -1).astype(np.float32)
    rows = np.stack([image[a:b].mean(0) for a, b in _cells(side, grid[0])])
    cells = np.stack([rows[:, a:b].mean(1) for a, b in _cells(side, grid[1])], 1)
    return cells.reshape(grid[0] * grid[1], -1)


def _cells(size: int, parts: int) -> list[tuple[int, int]]:
    return [(i * size // parts, -(-(i + 1) * size // parts)) for i in range(parts)]
