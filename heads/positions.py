"""Position encodings of tokens: none, sinusoidal or learned."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

PositionKind = Literal["none", "sinusoidal", "learned"]
LONGEST = 512  # number of learned positions, as in BERT


class Positions(nn.Module):
    """Add position vectors to tokens. Position 0, the pooled vector, gets none.

    "sinusoidal" is Vaswani et al., 2017; "learned" has one vector for each of LONGEST tokens (Devlin et al., 2019).

    Raises ValueError on another `kind`.
    """

    def __init__(self, kind: PositionKind, hidden: int) -> None:
        super().__init__()
        if kind not in get_args(PositionKind):
            raise ValueError(f"positions must be one of {', '.join(get_args(PositionKind))}; got {kind!r}")
        self.kind = kind
        self.table = nn.Parameter(torch.randn(LONGEST, hidden) * 0.02) if kind == "learned" else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Add the position vectors to tokens (B, L, H). Errors as in `vectors`."""
        return tokens if self.kind == "none" else tokens + self.vectors(tokens)

    def vectors(self, tokens: Tensor) -> Tensor:
        """The position vectors (L, H) of tokens (B, L, H).

        Raises ValueError when there are more tokens than learned positions.
        """
        count = tokens.shape[-2] - 1
        if self.kind == "none":
            return tokens.new_zeros(tokens.shape[-2:])
        if self.table is None:
            table = sinusoids(count, tokens.shape[-1], device=tokens.device).to(tokens.dtype)
        elif count > LONGEST:
            raise ValueError(
                f"learned positions reach {LONGEST} tokens, got {count}; use positions sinusoidal or fewer tokens"
            )
        else:
            table = self.table[:count]
        return pad(table, (0, 0, 1, 0))


def sinusoids(count: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """Sines (even columns) and cosines (odd ones) of wavelengths from 2π to 10000 · 2π: (count, width)."""
    column = torch.arange(width, device=device)
    frequency = 10_000.0 ** -(column // 2 * 2 / width)
    angle = torch.arange(count, device=device)[:, None] * frequency  # (count, width)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())
