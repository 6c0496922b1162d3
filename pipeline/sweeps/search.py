"""The size of a sweep: how many trials it has, how many are in a batch, and what decides its numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from typing import Any

from ...features.spec import Modality
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.search_config import MOST_TRIALS, Search
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures, find_spec
from ..metrics.scores import METRICS
from .space import ENCODERS, Space, apply_point

STATE = 6 * 2**30  # bytes that the heads of one batch may take: weights, best weights and moments of each
COPIES = 5  # of its weights that a head in training holds, gradient included


def with_trial_count(search: Search, space: Space, head: HeadConfig) -> Search:
    """The search with its sampler and its number of trials chosen.

    A space of lists alone is a grid, of which each point is tried once, unless fewer `trials` are asked for. Raises
    ValueError for a grid of too many points.
    """
    points = space.size(head.fusion)
    if search.sampler == "auto":
        whole = points is not None and not 0 < search.trials < points
        search = replace(search, sampler="grid" if whole else "random", trials=0 if whole else search.trials)
    if search.sampler != "grid":
        return replace(search, trials=search.trials or 64)
    if points is None:
        space.grid(head.fusion)  # which says what is no list
    assert points is not None
    if search.trials and search.trials != points:
        raise ValueError(f"the grid has {points} points; leave --trials out, or use --sampler random")
    if points > MOST_TRIALS:
        raise ValueError(f"the grid has {points} points; give fewer values, or --trials 64 for a random sample of them")
    return replace(search, trials=points)


def with_batch_size(
    search: Search, space: Space, head: HeadConfig, training: TrainConfig, table: CachedFeatures
) -> Search:
    """The search with its number of trials in a batch chosen."""
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
            values = space.names[name]
            ends = values if isinstance(values, tuple) else (values.at(1.0),)
            if all(isinstance(end, int | float) for end in ends):
                point[name] = max(ends)
        try:
            config, _ = apply_point(point, head, training)
            widths = [spec.width for specs in table.specs.values() for spec in specs]
            width = sum(min(one, config.token_width or one) if config.tokens else one for one in widths)
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
    everything = {
        "posts": table.posts.digest(None if search.outer == 1 else search.outer, training.seed),
        "encoders": {name: _fingerprints(space, data_config, name) for name in ENCODERS},
        "space": space.to_dict(),
        "head": asdict(head) | {"options": dict(head.options)},
        "training": asdict(training),
        "search": {name: value for name, value in asdict(search).items() if name != "study"},
        "metrics": list(METRICS),  # stored with each trial
    }
    digest = hashlib.blake2b(json.dumps(everything, sort_keys=True).encode(), digest_size=8).hexdigest()
    return {
        "identity": digest,
        **everything,
        "cache": str(data_config.cache.resolve()),
        "data": {
            "image": list(data_config.image),
            "text": list(data_config.text),
            **data_config.split,
        },
    }


def _fingerprints(space: Space, data_config: DataConfig, modality: Modality) -> list[list[str]]:
    """The encoders of each choice of a modality."""
    choices = space.names.get(modality)
    joined = choices if isinstance(choices, tuple) else ["+".join(getattr(data_config, modality))]
    return [
        [find_spec(data_config.cache, name, modality).fingerprint for name in str(one).split("+") if name != "none"]
        for one in joined
    ]
