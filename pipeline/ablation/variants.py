"""The trainings of an ablation: the head as configured, and its variants without a modality or a part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from ...features.encoders.views import view_spec
from ...features.spec import EncoderSpec, Modality
from ...heads.registry import head_info
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig

HeadPart = Literal["tokens", "position", "balance", "views"]
WITHOUT: dict[str, Modality] = {"text": "image", "image": "text"}  # the modality removed, by the one that is kept


@dataclass(frozen=True)
class HeadVariant:
    """One way to train the head, and its name in the table; `without` hides a modality from it."""

    name: str
    config: HeadConfig
    training: TrainConfig
    without: Modality | None = None


def modalities_of(config: HeadConfig, training: TrainConfig, *, retrain: bool) -> list[HeadVariant]:
    """The head on both modalities; with `retrain`, also on each one alone."""
    full = HeadVariant("both", config, training)
    if not retrain:
        return [full]
    return [full, *(replace(full, name=name, without=hidden) for name, hidden in WITHOUT.items())]


def variants_of(part: HeadPart, config: HeadConfig, training: TrainConfig) -> list[HeadVariant]:
    """The full head, then its variants without that part or with an alternative.

    Raises ValueError if the head has no such part.
    """
    if part not in VARIANTS:
        raise ValueError(f"part must be one of {', '.join(get_args(HeadPart))}; got {part!r}")
    return VARIANTS[part](config, training)


def _tokens(config: HeadConfig, training: TrainConfig) -> list[HeadVariant]:
    if not config.tokens:
        raise ValueError(f"{config.fusion!r} reads pooled vectors and has no tokens to remove; add --inputs tokens")
    pooled = replace(config, inputs="pooled")
    return [HeadVariant("tokens", config, training), HeadVariant("pooled", pooled, training)]


def _position(config: HeadConfig, training: TrainConfig) -> list[HeadVariant]:
    options = head_info(config.fusion).options
    if "positions" not in options:
        raise ValueError(f"{config.fusion!r} has no option `positions`; `msa heads` lists the heads that have it")
    if not config.tokens:
        raise ValueError(f"{config.fusion!r} reads pooled vectors, which have no order; add --inputs tokens")
    kind = str(config.options.get("positions", options["positions"]))
    kinds = ["sinusoidal" if kind == "none" else kind, "none"]
    return [HeadVariant(k, replace(config, options={**config.options, "positions": k}), training) for k in kinds]


def _balance(config: HeadConfig, training: TrainConfig) -> list[HeadVariant]:
    kinds = sorted(BALANCES, key=lambda kind: kind != training.balance)
    return [HeadVariant(kind, config, replace(training, balance=kind)) for kind in kinds]


def _views(config: HeadConfig, training: TrainConfig) -> list[HeadVariant]:
    if not config.views:
        raise ValueError("the head is trained without views of its images; give --views N, as many as were extracted")
    plain = replace(config, views=0, average_views=False)
    return [HeadVariant(f"{config.views} views", config, training), HeadVariant("no views", plain, training)]


BALANCES: tuple[Literal["none", "weights", "sampler"], ...] = ("none", "weights", "sampler")
VARIANTS: dict[str, Callable[[HeadConfig, TrainConfig], list[HeadVariant]]] = {
    "tokens": _tokens,
    "position": _position,
    "balance": _balance,
    "views": _views,
}


def extracted_views(cache: Path, specs: list[EncoderSpec]) -> int:
    """The number of image views that the cache has of every one of these encoders. Raises ValueError if it has none."""
    count = 0
    while specs and all((cache / view_spec(spec, count + 1).slug).is_dir() for spec in specs):
        count += 1
    if not count:
        names = " ".join(f"--image {spec.name}" for spec in specs)
        raise ValueError(f"no image views are in {cache}; run `msa extract {names} --views 2` first")
    return count
