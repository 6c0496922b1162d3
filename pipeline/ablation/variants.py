"""What an ablation trains: the head as configured, and its variants without a modality or a part."""

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

Part = Literal["tokens", "position", "balance", "views"]
WITHOUT: dict[str, Modality] = {"text": "image", "image": "text"}  # what the head sees, and what was taken away


@dataclass(frozen=True)
class Variant:
    """One way to train the head, and what the table calls it; `without` hides a modality from it."""

    name: str
    config: HeadConfig
    training: TrainConfig
    without: Modality | None = None


def modalities_of(config: HeadConfig, training: TrainConfig, *, retrain: bool) -> list[Variant]:
    """The head that sees both modalities; to be retrained, also those that see one."""
    full = Variant("both", config, training)
    if not retrain:
        return [full]
    return [full, *(replace(full, name=name, without=hidden) for name, hidden in WITHOUT.items())]


def variants_of(part: Part, config: HeadConfig, training: TrainConfig) -> list[Variant]:
    """The full head first, then it without that part, or with another in its place.

    Raises ValueError where the head has no such part.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(get_args(Part))}; got {part!r}")
    return PARTS[part](config, training)


def _tokens(config: HeadConfig, training: TrainConfig) -> list[Variant]:
    if not config.tokens:
        raise ValueError(f"{config.fusion!r} is given pooled vectors and has no tokens to lose; add --inputs tokens")
    pooled = replace(config, inputs="pooled")
    return [Variant("tokens", config, training), Variant("pooled", pooled, training)]


def _position(config: HeadConfig, training: TrainConfig) -> list[Variant]:
    own = head_info(config.fusion).options
    if "positions" not in own:
        raise ValueError(f"{config.fusion!r} knows no positions; `msa heads` lists the option of those that do")
    if not config.tokens:
        raise ValueError(f"{config.fusion!r} is given pooled vectors, which have no order; add --inputs tokens")
    kind = str(config.options.get("positions", own["positions"]))
    kinds = ["sinusoidal" if kind == "none" else kind, "none"]
    return [Variant(k, replace(config, options={**config.options, "positions": k}), training) for k in kinds]


def _balance(config: HeadConfig, training: TrainConfig) -> list[Variant]:
    kinds = sorted(BALANCES, key=lambda kind: kind != training.balance)
    return [Variant(kind, config, replace(training, balance=kind)) for kind in kinds]


def _views(config: HeadConfig, training: TrainConfig) -> list[Variant]:
    if not config.views:
        raise ValueError("the head is shown no views of its images; give --views N, as many as were extracted")
    plain = replace(config, views=0, average_views=False)
    return [Variant(f"{config.views} views", config, training), Variant("no views", plain, training)]


BALANCES: tuple[Literal["none", "weights", "sampler"], ...] = ("none", "weights", "sampler")
PARTS: dict[str, Callable[[HeadConfig, TrainConfig], list[Variant]]] = {
    "tokens": _tokens,
    "position": _position,
    "balance": _balance,
    "views": _views,
}


def extracted_views(cache: Path, specs: list[EncoderSpec]) -> int:
    """How many views of the images every one of these encoders has in the cache. Raises ValueError where none."""
    count = 0
    while specs and all((cache / view_spec(spec, count + 1).slug).is_dir() for spec in specs):
        count += 1
    if not count:
        names = " ".join(f"--image {spec.name}" for spec in specs)
        raise ValueError(f"no views of the images are in {cache}; run `msa extract {names} --views 2` first")
    return count
