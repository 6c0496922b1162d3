"""Seeds of each random draw of a training, by its purpose: a resumed or fused training draws the same."""

from __future__ import annotations

import hashlib
from typing import Literal

import torch

Purpose = Literal["order", "views", "hide", "blend", "share", "balance"]


def draw_seed(seed: int, purpose: Purpose, number: int) -> int:
    """A seed of 63 bits for the draw of this purpose in epoch or step `number` of the training with `seed`."""
    return int.from_bytes(hashlib.blake2b(f"{seed},{purpose},{number}".encode(), digest_size=8).digest()) >> 1


def drawing(seed: int, purpose: Purpose, number: int) -> torch.Generator:
    """A CPU generator seeded by `draw_seed`."""
    return torch.Generator().manual_seed(draw_seed(seed, purpose, number))
