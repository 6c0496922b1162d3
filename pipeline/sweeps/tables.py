"""The features that the points of a search space read."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from ...features.posts.samples import Corpus
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..data.cached_features import CachedFeatures
from ..data.prepare import prepare
from ..data.split import Fold
from .space import Point

Encoders = tuple[str, ...]


class Prepared(NamedTuple):
    """What `prepare` returns: the features of all posts, the outer folds, and the device."""

    table: CachedFeatures
    folds: list[Fold]
    device: str


class TableLoader:
    """Loads each combination of encoders and inputs when it is first wanted, and keeps the last few."""

    def __init__(self, corpus: Corpus, data_config: DataConfig, seed: int) -> None:
        self.corpus, self.data_config, self.seed = corpus, data_config, seed
        self._load = lru_cache(maxsize=8)(self._prepare)

    def load(self, point: Point, head: HeadConfig) -> Prepared:
        """The features for a head at a point of the space. Folds and device are the same for all points."""
        image, text = encoders_of(point, self.data_config)
        return self._load(image, text, head.tokens, head.patches if head.tokens else None, head.views)

    def _prepare(
        self, image: Encoders, text: Encoders, tokens: bool, patches: tuple[int, int] | None, views: int
    ) -> Prepared:
        head = HeadConfig("concat", inputs="tokens" if tokens else "pooled", patches=patches, views=views)
        data_config = replace(self.data_config, image=image, text=text)
        return Prepared(*prepare(self.corpus, data_config, head, seed=self.seed))


def encoders_of(point: Point, data_config: DataConfig) -> tuple[Encoders, Encoders]:
    """The image and text encoders of a point, by name; those of `data_config` where the point does not vary them."""
    image, text = (str(point[side]).split("+") if side in point else None for side in ("image", "text"))
    return tuple(image or data_config.image), tuple(text or data_config.text)
