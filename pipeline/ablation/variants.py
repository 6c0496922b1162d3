"""The trainings of an ablation: the head as configured, and its variants without a modality or a part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from ...features.encoders.views import view_spec
from ...features.spec import EncoderSpec, Modality
from ...heads.registry import head_info
from ..training.jobs import Experiment

HeadPart = Literal["tokens", "position", "balance", "views"]
WITHOUT: dict[str, Modality] = {"text": "image", "image": "text"}  # the modality removed, by the one that is kept


def modality_variants(full: Experiment, *, retrain: bool) -> dict[str, Experiment]:
    """The head on both modalities; with `retrain`, also on each one alone."""
    alone = {name: replace(full, without=hidden) for name, hidden in WITHOUT.items()}
    return {"both": full} | (alone if retrain else {})


def part_variants(part: HeadPart, full: Experiment) -> dict[str, Experiment]:
    """The full head, then its variants without that part or with an alternative, by name.

    Raises ValueError if the head has no such part.
    """
    if part not in VARIANTS:
        raise ValueError(f"part must be one of {', '.join(get_args(HeadPart))}; got {part!r}")
    return VARIANTS[part](full)


def _tokens(full: Experiment) -> dict[str, Experiment]:
    config = full.config
    if not config.tokens:
        raise ValueError(f"{config.fusion!r} reads pooled vectors and has no tokens to remove; add --inputs tokens")
    return {"tokens": full, "pooled": replace(full, config=replace(config, inputs="pooled"))}


def _position(full: Experiment) -> dict[str, Experiment]:
    config = full.config
    options = head_info(config.fusion).options
    if "positions" not in options:
        raise ValueError(f"{config.fusion!r} has no option `positions`; `msa heads` lists the heads that have it")
    if not config.tokens:
        raise ValueError(f"{config.fusion!r} reads pooled vectors, which have no order; add --inputs tokens")
    kind = str(config.options.get("positions", options["positions"]))
    kinds = ["sinusoidal" if kind == "none" else kind, "none"]
    return {k: replace(full, config=replace(config, options={**config.options, "positions": k})) for k in kinds}


def _balance(full: Experiment) -> dict[str, Experiment]:
    kinds = sorted(BALANCES, key=lambda kind: kind != full.training.balance)
    return {kind: replace(full, training=replace(full.training, balance=kind)) for kind in kinds}


def _views(full: Experiment) -> dict[str, Experiment]:
    if not full.config.views:
        raise ValueError("the head is trained without views of its images; give --views N, as many as were extracted")
    plain = replace(full, config=replace(full.config, views=0, average_views=False))
    return {f"{full.config.views} views": full, "no views": plain}


BALANCES: tuple[Literal["none", "weights", "sampler"], ...] = ("none", "weights", "sampler")
VARIANTS: dict[str, Callable[[Experiment], dict[str, Experiment]]] = {
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
