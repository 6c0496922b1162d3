"""Heads that each read the encoders of their own fold, as one run on the encoders of all folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from ...features.spec import Modality
from ..config.ensemble_config import EnsembleConfig, Member
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures
from ..data.fold_encoders import Places, select_encoders
from ..data.inputs import build_inputs, dims_of
from .ensemble_head import EnsembleHead
from .folds import FoldResult


def fold_tables(table: CachedFeatures, config: HeadConfig, folds: int) -> list[CachedFeatures]:
    """The features that the heads of each fold of a run read: those of all its encoders, or pooled ones of some."""
    if not isinstance(config, EnsembleConfig):
        return [table] * folds
    tables = []
    for members in config.members:
        places: dict[Modality, tuple[int, ...]] = {}
        for modality, side in table.sides.items():
            own = [one.image if modality == "image" else one.text for one in members]
            read = {place for one in own for place in (range(len(side.specs)) if one is None else one)}
            places[modality] = tuple(sorted(read))
        tables.append(select_encoders(table, places))
    return tables


def join_folds(
    table: CachedFeatures,
    results: Sequence[FoldResult],
    places: Sequence[Places],
    config: HeadConfig,
    training: TrainConfig,
) -> tuple[list[FoldResult], EnsembleConfig]:
    """The results of folds that were trained on their own encoders, as heads on all encoders of the `table`."""
    dims = dims_of(build_inputs(table, tokens=False), table)
    members = [Member(0, 1, config, training, own.get("image"), own.get("text")) for own in places]
    joined = [
        replace(result, heads=[EnsembleHead(result.heads, [member], dims).to(next(result.heads[0].buffers()).device)])
        for result, member in zip(results, members, strict=True)
    ]
    settings = {one.name: getattr(config, one.name) for one in fields(config)}
    return joined, EnsembleConfig(**settings, members=tuple((member,) for member in members))
