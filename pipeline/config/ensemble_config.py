"""The head of a greedy ensemble: members of different settings, weighted by how often each was picked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .head_config import HeadConfig
from .train_config import TrainConfig

if TYPE_CHECKING:  # the heads import torch, which takes seconds, and `--help` must not wait for it
    from ...heads.registry import HeadInfo

GREEDY = "greedy"  # what such an ensemble has in place of a fusion


@dataclass(frozen=True)
class Member:
    """A trial of a sweep that was picked `count` times, and what it trains.

    `image` and `text` are the places of its encoders among those of the ensemble; None: it reads all of them.
    """

    trial: int
    count: int
    head: HeadConfig
    training: TrainConfig
    image: tuple[int, ...] | None
    text: tuple[int, ...] | None


@dataclass(frozen=True)
class EnsembleConfig(HeadConfig):
    """`members` has those of each fold. Inputs, patches, projection and views are the same for all of them."""

    members: tuple[tuple[Member, ...], ...] = ()

    @property
    def infos(self) -> list[HeadInfo]:
        """The registry's entries of the heads of all members."""
        return [info for fold in self.members for member in fold for info in member.head.infos]
