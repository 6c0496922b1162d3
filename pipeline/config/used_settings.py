"""Which settings a fusion uses: a classifier of scikit-learn is not trained by steps, and has no hidden width."""

from __future__ import annotations

from dataclasses import fields

from ...features.messages import notify
from .head_config import HeadConfig
from .train_config import TrainConfig

FITTED = frozenset(
    {"fusion", "inputs", "patches", "token_width", "ensemble_size", "average_views", "options"}
    | {"metric", "tune_thresholds", "seed"}
)  # settings that matter where nothing is trained by gradients


def used_settings(fusion: str) -> frozenset[str]:
    """The fields of HeadConfig and TrainConfig that a head of this fusion uses, or one kind of an ensemble `a+b`.

    Raises ValueError for an unknown head.
    """
    from ...heads.registry import ESTIMATORS, head_info

    names = fusion.split("+")
    for name in names:
        head_info(name)
    if all(name in ESTIMATORS for name in names):
        return FITTED
    return frozenset(field.name for kind in (HeadConfig, TrainConfig) for field in fields(kind))


def point_out_unused(config: HeadConfig, training: TrainConfig) -> None:
    """Notify of settings other than the defaults that the fusion does not use."""
    used = used_settings(config.fusion) | ({"views"} if config.average_views else frozenset())
    unused = [
        field.name
        for given in (config, training)
        for field in fields(given)
        if field.name not in used | {"options"} and getattr(given, field.name) != field.default
    ]
    if unused:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        notify(f"{config.label} is fitted at once, without training steps, and does not use {names}")
