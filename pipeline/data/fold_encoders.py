"""Tuned encoders of which each fold reads its own: it has seen no test row of that fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...features.encoders.runtime import pick_device
from ...features.encoders.tuned import tuned_names
from ...features.posts.samples import Corpus
from ...features.spec import EncoderSpec, Modality
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from .cached_features import CachedFeatures, ModalityTable, find_spec
from .leaks import refuse_leaks
from .prepare import load_and_split
from .split import Fold, ensemble_folds
from .storage import Storage

Places = Mapping[Modality, tuple[int, ...]]  # of a fold's encoders among those of a table


def has_fold_encoders(data_config: DataConfig) -> bool:
    """Whether a name stands for a folder of tuned encoders, one for each fold."""
    return any(len(names) > 1 for side in _named(data_config).values() for names in side)


def prepare_by_fold(
    corpus: Corpus, data_config: DataConfig, config: HeadConfig, *, seed: int
) -> tuple[CachedFeatures, list[Fold], list[Places], str]:
    """As `prepare`, for names of which some stand for an encoder per fold: also the encoders that each fold reads.

    Raises ValueError where the folds are not those that the encoders were tuned on, and for a head on tokens or views.
    """
    if config.tokens or config.views:
        option = "--inputs pooled" if config.tokens else "--views 0"
        raise ValueError(f"encoders that were tuned fold by fold serve heads on pooled vectors alone; add {option}")
    if config.ensemble_size > 1:
        raise ValueError(
            "the heads of an ensemble stop on validation rows that encoders tuned fold by fold were trained on; leave "
            "--ensemble out"
        )
    named = _named(data_config)
    specs = {
        modality: [find_spec(data_config.cache, name, modality) for names in side for name in names]
        for modality, side in named.items()
    }
    table, folds = load_and_split(corpus, data_config, config, image=specs["image"], text=specs["text"], seed=seed)
    shared = {modality: [len(names) == 1 for names in side for _ in names] for modality, side in named.items()}
    places: list[Places] = [
        {
            modality: tuple(
                place
                for place, spec in enumerate(specs[modality])
                if shared[modality][place] or _tuned_fold(table, spec) == number
            )
            for modality in table.sides
        }
        for number in range(len(folds))
    ]
    _check(named, places)
    tables = [select_encoders(table, own) for own in places]
    members = [ensemble_folds(table.posts, fold, count=config.ensemble_size, seed=seed) for fold in folds]
    read = [own for own, several in zip(tables, members, strict=True) for _ in several]
    refuse_leaks(read, [one for several in members for one in several])
    return table, folds, places, pick_device(data_config.device)


def select_encoders(table: CachedFeatures, places: Places) -> CachedFeatures:
    """The pooled features of some of a table's encoders."""
    sides = {
        modality: _select(side, places[modality], table.storage)
        for modality, side in table.sides.items()
        if places[modality]
    }
    return replace(table, image=sides.get("image"), text=sides.get("text"))


def _select(side: ModalityTable, places: Sequence[int], storage: Storage) -> ModalityTable:
    specs = tuple(side.specs[place] for place in places)
    columns = np.split(side.pooled, np.cumsum([spec.width for spec in side.specs])[:-1], axis=1)
    width = sum(spec.width for spec in specs)
    pooled = storage.rows(
        len(side.pooled), width, lambda rows: np.concatenate([columns[place][rows] for place in places], 1)
    )
    return ModalityTable(specs, side.present, pooled, seen=tuple(one for one in side.seen if one.spec in specs))


def _named(data_config: DataConfig) -> dict[Modality, list[list[str]]]:
    """The names that each name of an encoder stands for."""
    given: dict[Modality, Sequence[str]] = {"image": data_config.image, "text": data_config.text}
    return {
        modality: [tuned_names(name, modality) for name in names if name != "none"] for modality, names in given.items()
    }


def _tuned_fold(table: CachedFeatures, spec: EncoderSpec) -> int | None:
    side = table.sides[spec.modality]
    return next((seen.record.fold for seen in side.seen if seen.spec == spec), None)


def _check(named: Mapping[Modality, Sequence[Sequence[str]]], places: Sequence[Places]) -> None:
    """Raise ValueError where a fold lacks one of its encoders, or there are encoders of more folds."""
    for modality, side in named.items():
        tuned = max(map(len, side), default=1)
        wrong = any(len(own[modality]) != len(side) for own in places if modality in own)
        if tuned > 1 and (wrong or tuned != len(places)):
            raise ValueError(
                f"--{modality} has encoders of {tuned} folds, and here are {len(places)}; give --folds {tuned} and the "
                "seed that they were tuned with"
            )
