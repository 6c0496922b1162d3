"""Which cached features, on which folds, where: what every command of data_config two is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataConfig:
    """What every command of data_config two is given: the cache, the encoders by name, the folds, the device.

    `repeats` deals the folds that many times. `hold_out` sets that share of the posts aside for `msa test`, once.
    """

    cache: Path
    image: tuple[str, ...]
    text: tuple[str, ...]
    folds: int | None = None
    device: str = "auto"
    repeats: int = 1
    hold_out: float = 0.0
