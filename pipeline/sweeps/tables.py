"""The features that the points of a search space read."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from ...features.posts.samples import Corpus
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..data.cached_features import CachedFeatures
from ..data.prepare import prepare
from ..data.split import Fold
from .space import Point, encoders_of

Prepared = tuple[CachedFeatures, list[Fold], str]  # as `prepare` returns them


class TableLoader:
    """Loads each combination of encoders and inputs when it is first wanted, and keeps the last few."""

    def __init__(self, corpus: Corpus, data_config: DataConfig, seed: int) -> None:
        self.data_config = data_config

        @lru_cache(maxsize=8)
        def load(
            image: tuple[str, ...], text: tuple[str, ...], tokens: bool, patches: tuple[int, int] | None, views: int
        ) -> Prepared:
            head = HeadConfig("concat", inputs="tokens" if tokens else "pooled", patches=patches, views=views)
            return prepare(corpus, replace(data_config, image=image, text=text), head, seed=seed)

        self._load = load

    def load(self, point: Point, head: HeadConfig) -> Prepared:
        """The features for a head at a point of the space, the outer folds and the device, the same for all points."""
        image, text = encoders_of(point, self.data_config)
        return self._load(image, text, head.tokens, head.patches if head.tokens else None, head.views)
