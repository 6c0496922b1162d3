"""The size of a sweep: how many trials it has, how many are in a batch, and what decides its numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from typing import Any

from ...features.spec import Modality
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.search_config import Search
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures, find_spec
from .space import Space, apply_point

STATE = 6 * 2**30  # bytes that the heads of one batch may take: weights, best weights and moments of each
COPIES = 5  # of its weights that a head in training holds, gradient included


def counted(search: Search, space: Space, head: HeadConfig) -> Search:
    """The search with its number of trials chosen."""
    if search.sampler == "grid":
        points = len(space.grid(head.fusion))
        if search.trials and search.trials != points:
            raise ValueError(f"the grid has {points} points; leave --trials out, or use --sampler random")
        search = replace(search, trials=points)
    return replace(search, trials=search.trials or 64)


def settled(search: Search, space: Space, head: HeadConfig, training: TrainConfig, table: CachedFeatures) -> Search:
    """The search, `counted`, with its number of trials in a batch chosen."""
    largest = _weights(space, head, training, table)
    fits = max(8, STATE // (4 * COPIES * search.inner * head.ensemble_size * largest))
    batches = -(-search.trials // min(search.at_once, fits))
    even = -(-search.trials // batches)  # so that none is a small rest
    return replace(search, batch=min(search.batch or even, search.trials))


def _weights(space: Space, head: HeadConfig, training: TrainConfig, table: CachedFeatures) -> int:
    """The parameters of the largest head of the space, as far as its highest settings say."""
    largest = 1
    for fusion in space.fusions(head.fusion):
        point: dict[str, Any] = {"fusion": fusion}
        for name in space.names_for(fusion):
            side = space.names[name]
            ends = side if isinstance(side, tuple) else (side.at(1.0),)
            if all(isinstance(end, int | float) for end in ends):
                point[name] = max(ends)
        try:
            config, _ = apply_point(point, head, training)
            tokens = [spec.width for side in table.specs.values() for spec in side]
            width = sum(min(one, config.token_width or one) if config.tokens else one for one in tokens)
            largest = max(largest, config.hidden * (width + 16 * config.hidden))
        except ValueError:
            continue
    return largest


def identity(
    data_config: DataConfig,
    space: Space,
    head: HeadConfig,
    training: TrainConfig,
    search: Search,
    table: CachedFeatures,
) -> dict[str, Any]:
    """All that decides a sweep's numbers, its digest (the same on any machine), and where the data is."""
    kinds = {"image": _fingerprints(space, data_config, "image"), "text": _fingerprints(space, data_config, "text")}
    posts = table.posts.digest(None if search.outer == 1 else search.outer, training.seed)
    settings = {name: value for name, value in asdict(search).items() if name != "study"}
    everything = {
        "posts": posts,
        "encoders": kinds,
        "space": space.to_dict(),
        "head": asdict(head) | {"options": dict(head.options)},
        "training": asdict(training),
        "search": settings,
    }
    digest = hashlib.blake2b(json.dumps(everything, sort_keys=True).encode(), digest_size=8).hexdigest()
    return {
        "identity": digest,
        **everything,
        "cache": str(data_config.cache.resolve()),
        "data": {"image": list(data_config.image), "text": list(data_config.text), "hold_out": data_config.hold_out},
    }


def _fingerprints(space: Space, data_config: DataConfig, modality: Modality) -> list[list[str]]:
    """The encoders of each choice of a modality."""
    side = space.names.get(modality)
    choices = (
        [str(one).split("+") for one in side] if isinstance(side, tuple) else [list(getattr(data_config, modality))]
    )
    return [
        [find_spec(data_config.cache, name, modality).fingerprint for name in one if name != "none"] for one in choices
    ]
