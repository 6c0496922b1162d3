"""Where heads train: the inputs of a fold, built when first wanted and dropped with the last head that wants them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...features.spec import Modality
from ...heads.base import Dims, Head, Inputs
from ...heads.registry import build_head
from ...heads.towers import Towers
from ..config.head_config import HeadConfig
from ..data.cached_features import CachedFeatures
from ..data.inputs import Reduction, build_inputs, build_views, dims_of, fit_reductions, towers_of

_DRAWING = threading.Lock()  # heads draw their weights from torch's global generator


@dataclass(frozen=True)
class Place:
    """What inputs depend on, so that trainings of one place share theirs.

    `fitted` are the rows that reductions are fitted on, as bytes; empty where nothing is reduced.
    """

    tokens: bool
    width: int | None
    without: Modality | None
    fitted: bytes

    @classmethod
    def of(cls, config: HeadConfig, trained: NDArray[np.int64], without: Modality | None) -> Place:
        """The place of a head whose fold trains on these rows."""
        reduced = config.tokens and config.token_width is not None
        return cls(
            config.tokens, config.token_width if reduced else None, without, trained.tobytes() if reduced else b""
        )


@dataclass(frozen=True)
class FoldInputs:
    """Inputs of all N posts on the device, their views, the labels (N,), and what the tokens were reduced by."""

    inputs: Inputs
    views: list[Inputs]
    labels: Tensor
    reductions: dict[str, Reduction]
    towers: Towers
    dims: Dims

    @classmethod
    def build(cls, table: CachedFeatures, place: Place, device: str) -> FoldInputs:
        """Fit the reductions and lay the inputs out."""
        rows = np.frombuffer(place.fitted, np.int64)
        reductions = fit_reductions(table, rows, width=place.width, tokens=place.tokens)
        inputs = build_inputs(table, tokens=place.tokens, reductions=reductions, without=place.without)
        inputs = Inputs(*(tensor.to(device) for tensor in inputs))
        views = build_views(table, inputs, tokens=place.tokens, reductions=reductions)
        labels = torch.from_numpy(table.targets()).to(device)
        towers = towers_of(table.specs, tokens=place.tokens)
        return cls(inputs, views, labels, reductions, towers, dims_of(inputs, table))

    def head(self, config: HeadConfig, seed: int) -> Head:
        """A new head for these inputs: same seed, same weights, whatever other threads do."""
        with _DRAWING:
            return build_head(
                config.fusion,
                self.dims,
                hidden=config.hidden,
                dropout=config.dropout,
                seed=seed,
                towers=self.towers,
                **config.options,
            ).to(self.labels.device)


class InputsCache:
    """The scenes of one table; each lives from its first use to its last one, of which there are as many as `uses`."""

    def __init__(self, table: CachedFeatures, uses: Iterable[Place], device: str) -> None:
        self.table, self.device = table, device
        self.left = Counter(uses)
        self.locks = {place: threading.Lock() for place in self.left}
        self.built: dict[Place, FoldInputs] = {}

    @contextmanager
    def use(self, place: Place) -> Iterator[FoldInputs]:
        """The scene of this place, once; other threads that want it wait while it is built."""
        with self.locks[place]:
            if place not in self.built:
                self.built[place] = FoldInputs.build(self.table, place, self.device)
            scene = self.built[place]
        try:
            yield scene
        finally:
            with self.locks[place]:
                self.left[place] -= 1
                if not self.left[place]:
                    del self.built[place]


class LatestInputs(InputsCache):
    """The scenes of one table, of which the latest stays: chunks of one place mostly come one after another."""

    def __init__(self, table: CachedFeatures, device: str) -> None:
        super().__init__(table, (), device)

    @contextmanager
    def use(self, place: Place) -> Iterator[FoldInputs]:
        """The scene of this place."""
        if place not in self.built:
            self.built.clear()
            self.built[place] = FoldInputs.build(self.table, place, self.device)
        yield self.built[place]
