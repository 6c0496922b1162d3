"""config.json of a run: what its heads are, what they were trained with, and where their features lie."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...features.spec import MODALITIES, EncoderSpec, Modality
from ...features.store.json_files import read_json
from ...features.store.stored_paths import read_path
from ..config.data_config import DataConfig, read_split
from ..config.ensemble_config import GREEDY, EnsembleConfig, Member
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from .folders import CONFIG

if TYPE_CHECKING:  # results of a run are read without torch
    from ...heads.base import Dims

NAME, REMEDY = "a run's configuration", "train again"
Specs = dict[Modality, tuple[EncoderSpec, ...]]


class Settings(NamedTuple):
    """What trains a head again: `others` are settings of the command beside those of the dataclasses, by parameter."""

    data_config: DataConfig
    head: HeadConfig
    training: TrainConfig
    others: Mapping[str, Any]


def read_settings(path: Path) -> Settings:
    """What the run in this folder was trained with, encoders by their slugs. Raises ValueError where it is damaged."""
    with reading(path) as stored:
        specs = read_specs(stored["encoders"])
        image, text = (tuple(spec.slug for spec in specs[modality]) or ("none",) for modality in MODALITIES)
        cache = find_cache(path, stored["cache"], specs)
        folds = read_json(path / "split.json", "a run's split", REMEDY, folds=list)["folds"]
        repeats, split = 1 + max(int(fold["repeat"]) for fold in folds), read_split(stored.get("split", {}))
        data_config = DataConfig(cache, image, text, stored["folds"], repeats=repeats, **split)
        training, others = TrainConfig(**stored["training"]), dict(stored.get("others", {}))
        head = read_head(stored["head"])
    if isinstance(head, EnsembleConfig):
        if head.fusion == GREEDY:
            raise ValueError(f"{path} is the ensemble of a sweep; `msa sweep --ensemble greedy` makes another one")
        raise ValueError(f"{path} reads an encoder for each fold; give --image, --text and the settings again")
    return Settings(data_config, head, training, others)


@contextmanager
def reading(path: Path) -> Iterator[dict[str, Any]]:
    """The fields of a run's configuration; what goes wrong with them inside is a ValueError that names the file."""
    file = path / CONFIG
    stored = read_json(file, NAME, REMEDY)
    try:
        yield stored
    except (AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error) if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"{file}: not {NAME} ({' '.join(reason.split())[:200]}); {REMEDY}") from error


def read_head(stored: Mapping[str, Any]) -> HeadConfig:
    """The head of a stored configuration. Raises TypeError or ValueError where it is none."""
    patches = stored.get("patches")
    settings = {
        **{name: value for name, value in stored.items() if name != "members"},
        "patches": tuple(patches) if patches else None,
        "options": dict(stored.get("options", {})),
    }
    if "members" not in stored:
        return HeadConfig(**settings)
    return EnsembleConfig(**settings, members=tuple(tuple(map(_read_member, fold)) for fold in stored["members"]))


def _read_member(stored: Mapping[str, Any]) -> Member:
    image, text = (None if stored[name] is None else tuple(map(int, stored[name])) for name in MODALITIES)
    head, training = read_head(stored["head"]), TrainConfig(**stored["training"])
    return Member(int(stored["trial"]), int(stored["count"]), head, training, image, text)


def find_cache(path: Path, stored: str, specs: Mapping[Modality, Sequence[EncoderSpec]]) -> Path:
    """The cache that a run names, or that of this project where its encoders are there alone."""
    own = read_path(stored, path)
    slugs = [spec.slug for side in specs.values() for spec in side]
    return next((one for one in (own, Path("cache")) if all((one / slug).is_dir() for slug in slugs)), own)


def read_classes(stored: Any) -> tuple[str, ...]:
    """The classes of a stored run. Raises ValueError for anything but a list of texts."""
    if not isinstance(stored, list) or not all(isinstance(one, str) for one in stored):
        raise ValueError(f"classes must be a list of labels, got {stored!r}")
    return tuple(stored)


def read_temperatures(stored: Any) -> tuple[float, ...]:
    """The temperatures of a stored run. Raises ValueError for one that is no finite number above 0."""
    if not all(isinstance(one, int | float) and 0 < one < math.inf for one in stored):
        raise ValueError(f"temperatures must be numbers above 0, got {stored!r}")
    return tuple(map(float, stored))


def check_widths(dims: Dims, specs: Specs) -> None:
    """Raise ValueError where a head reads more of a modality than its encoders give."""
    for modality, side in specs.items():
        given = sum(spec.width for spec in side) or 1  # one masked column where there is no encoder
        if dims.width(modality) > given and not any(spec.raw for spec in side):
            raise ValueError(f"the head reads {dims.width(modality)} {modality} columns, its encoders give {given}")


def describe_specs(specs: Sequence[EncoderSpec]) -> list[dict[str, Any]]:
    """What `read_side` reads: the fields of each spec and its fingerprint."""
    return [asdict(spec) | {"fingerprint": spec.fingerprint} for spec in specs]


def read_specs(stored: Mapping[str, Any]) -> Specs:
    """The encoders of each modality."""
    return {modality: read_side(stored[modality]) for modality in MODALITIES}


def read_side(described: Any) -> tuple[EncoderSpec, ...]:
    """The specs of one modality. Raises ValueError for one that is not what its fingerprint says."""
    if not isinstance(described, list):
        raise ValueError(f"encoders must be lists, got {described!r}")
    side = tuple(EncoderSpec(**{k: v for k, v in one.items() if k != "fingerprint"}) for one in described)
    for spec, one in zip(side, described, strict=True):
        if spec.fingerprint != one["fingerprint"]:
            raise ValueError(f"encoder {spec.name!r} has fingerprint {spec.fingerprint}, wanted {one['fingerprint']!r}")
    return side
