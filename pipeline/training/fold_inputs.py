"""The inputs of a fold: built at their first use, shared by its heads, dropped after the last one."""

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
from ...heads.base import Dims, Head
from ...heads.registry import build_head
from ...heads.towers import Towers
from ..config.head_config import HeadConfig
from ..data.cached_features import CachedFeatures
from ..data.inputs import build_inputs, build_views, dims_of, fit_reductions, towers_of
from ..data.joining import refuse_whole
from ..data.ragged_inputs import RaggedInputs


@dataclass(frozen=True)
class InputsKey:
    """What inputs depend on: trainings with equal keys share theirs.

    `fitted` are the rows that reductions are fitted on, as bytes; empty where nothing is reduced.
    """

    tokens: bool
    width: int | None
    without: Modality | None
    views: bool
    fitted: bytes

    @classmethod
    def of(cls, config: HeadConfig, trained: NDArray[np.int64], without: Modality | None) -> InputsKey:
        """The key of a head whose fold trains on the rows `trained`."""
        reduced = config.tokens and config.token_width is not None
        width, fitted = (config.token_width, trained.tobytes()) if reduced else (None, b"")
        return cls(config.tokens, width, without, config.views > 0, fitted)


@dataclass(frozen=True)
class FoldInputs:
    """Inputs of all N posts on the device, their views, the labels (N,), and what the tokens were reduced by.

    `memory` is what features may take where they are mapped; 0: they are in memory.
    """

    inputs: RaggedInputs
    views: list[RaggedInputs]
    labels: Tensor
    reductions: dict[str, Tensor]
    towers: Towers
    dims: Dims
    memory: int = 0

    @classmethod
    def build(cls, table: CachedFeatures, key: InputsKey, device: str) -> FoldInputs:
        """Fit the reductions and lay the inputs out."""
        rows = np.frombuffer(key.fitted, np.int64)
        reductions = fit_reductions(table, rows, width=key.width, tokens=key.tokens)
        inputs = build_inputs(table, tokens=key.tokens, reductions=reductions, without=key.without).to(device)
        views = build_views(table, inputs, tokens=key.tokens, reductions=reductions) if key.views else []
        labels = torch.from_numpy(table.targets()).to(device)
        towers = towers_of(table.specs, tokens=key.tokens)
        return cls(inputs, views, labels, reductions, towers, dims_of(inputs, table), table.storage.memory)

    def prediction_views(self, config: HeadConfig) -> list[RaggedInputs]:
        """The inputs that heads of this config are tested on: the plain ones, and the views where they are averaged."""
        return [self.inputs, *self.views] if config.average_views else [self.inputs]

    def head(self, config: HeadConfig, seed: int) -> Head:
        """A new head for these inputs: same seed, same weights, whatever other threads do.

        Raises ValueError for one that is fitted to all posts at once where they are mapped, and for one of the text
        alone where an encoder of it embeds the image as well.
        """
        if self.memory and config.fitted_at_once:
            refuse_whole(config.fusion, len(self.inputs), self.dims.image + self.dims.text, self.memory)
        if config.fusion == "text" and self.inputs.joint is not None:
            raise ValueError(
                "--fusion text is the text alone, and an encoder NAME@joint embeds the image as well; leave the "
                "encoder out, or take another --fusion (`msa heads`)"
            )
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
    """Inputs of one table: built at the first use of a key, dropped after the last; `uses` has a key per use."""

    def __init__(self, table: CachedFeatures, uses: Iterable[InputsKey], device: str) -> None:
        self.table, self.device = table, device
        self.left = Counter(uses)
        self.locks = {key: threading.Lock() for key in self.left}
        self.built: dict[InputsKey, FoldInputs] = {}

    @contextmanager
    def use(self, key: InputsKey) -> Iterator[FoldInputs]:
        """The inputs of this key, built once; other threads that need them wait."""
        with self.locks[key]:
            if key not in self.built:
                self.built[key] = FoldInputs.build(self.table, key, self.device)
            fold_inputs = self.built[key]
        try:
            yield fold_inputs
        finally:
            with self.locks[key]:
                self.left[key] -= 1
                if not self.left[key]:
                    del self.built[key]


class LatestInputs(InputsCache):
    """Inputs of one table, of which the latest stay: chunks of one key mostly follow one another."""

    def __init__(self, table: CachedFeatures, device: str) -> None:
        super().__init__(table, (), device)

    @contextmanager
    def use(self, key: InputsKey) -> Iterator[FoldInputs]:
        """The inputs of this key."""
        if key not in self.built:
            self.built.clear()
            self.built[key] = FoldInputs.build(self.table, key, self.device)
        yield self.built[key]
