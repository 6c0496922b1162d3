"""Encoder names with suffixes, `NAME[@LAYER][@POOL][@whole][@viewK]`, and the specs of layers and poolings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ..messages import near_names
from ..spec import Dtype, EncoderSpec, Modality, SourceKind, canonical
from .encoder import EncoderOptions

FORM = "NAME[@LAYER][@POOL][@whole][@viewK]"
POOLS = ("mean", "cls", "max", "last", "pooler", "inferred")
WHOLE = {"crop_pct": 1.0, "crop_mode": "squash"}  # the whole picture, as timm's config writes it
TOKENS = {  # from the right
    "view": r"view(\d+)",
    "whole": "(whole)",
    "pool": f"({'|'.join(POOLS)})",
    "layer": r"(-[1-9]\d*)",
}


class Stage(NamedTuple):
    """A layer of a model that outputs tokens: its name in the spec, and its width D."""

    layer: str
    width: int


@dataclass(frozen=True)
class EncoderName:
    """A parsed name. None means the encoder's own layer, its own pooling, the plain image.

    `whole`: the whole picture resized to the model's square, which the encoder itself would crop.
    """

    base: str
    layer: int | None = None
    pool: str | None = None
    view: int | None = None
    whole: bool = False

    @property
    def suffix(self) -> str:
        """The part after the base."""
        view = None if self.view is None else f"view{self.view}"
        whole = "whole" if self.whole else None
        return "".join(f"@{part}" for part in (self.layer, self.pool, whole, view) if part is not None)

    def narrow(self, options: EncoderOptions) -> EncoderOptions:
        """The options, overridden by the layer and the pooling of the name."""
        return replace(
            options,
            layers=options.layers if self.layer is None else (self.layer,),
            pools=options.pools if self.pool is None else (self.pool,),
            whole=options.whole or self.whole,
        )


def parse_encoder_name(name: str, *, local: bool = True) -> EncoderName:
    """Parse a name from the right, with at most one suffix of each kind; the rest is the base.

    With `local`, an existing path is a base, whatever suffixes it seems to have.
    """
    found: dict[str, str] = {}
    for kind, pattern in TOKENS.items():
        if local and _exists(name):
            break
        base, at, token = name.rpartition("@")
        match = re.fullmatch(pattern, token) if at and base else None
        if match:
            name, found[kind] = base, match[1]
    layer, view = found.get("layer"), found.get("view")
    whole = "whole" in found
    return EncoderName(name, int(layer) if layer else None, found.get("pool"), int(view) if view else None, whole)


def safe_base_name(base: str) -> str:
    """The base name in a spec: a path that ends like a suffix has its '@' replaced."""
    return base if parse_encoder_name(base, local=False).base == base else base.replace("@", "_")


def read_layers(text: str) -> tuple[int, ...]:
    """`-1,-4` as (-1, -4). Raises ValueError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(TOKENS["layer"], part) for part in parts):
        raise ValueError(f"--layers takes negative numbers such as -1,-4, with -1 for the last layer; got {text!r}")
    return tuple(int(part) for part in parts)


def read_pools(text: str) -> tuple[str, ...]:
    """`mean,max` as ('mean', 'max'); `auto` as (), each encoder's own. The encoder checks them."""
    return () if text == "auto" else tuple(part.strip() for part in text.split(","))


def only_last_layer(options: EncoderOptions) -> bool:
    """Whether only the last layer is asked for, so that the others need not be looked up."""
    return set(options.layers) <= {-1}


def make_specs(
    options: EncoderOptions,
    *,
    name: str,
    modality: Modality,
    source: SourceKind,
    architecture: str,
    weights: str,
    preprocess: Mapping[str, object],
    stages: Sequence[Stage],
    pools: Sequence[str],
    dtype: Dtype | None = None,
    max_length: int | None = None,
) -> tuple[EncoderSpec, ...]:
    """One spec for each layer and pooling asked for, in that order; by default the last layer and its first pooling.

    `stages` run from the last to the first. `pooler`, the model's own pooled vector, exists for the last layer alone,
    so that the other layers default to the next of `pools`. Raises ValueError.
    """
    spec = EncoderSpec(
        name=name,
        modality=modality,
        source=source,
        architecture=architecture,
        weights=weights,
        layer=stages[0].layer,
        pool=pools[0],
        preprocess=canonical(preprocess),
        width=stages[0].width,
        dtype=dtype or options.dtype,
        clean=options.clean,
        max_length=max_length,
    )
    layers = options.layers or (-1,)
    for layer in layers:
        if not -len(stages) <= layer <= -1:
            there = ", ".join(f"-{number} ({stage.layer})" for number, stage in enumerate(stages, 1))
            raise ValueError(f"layer of {spec.name!r} must be one of {there}; got {layer}")
    asked = [(layer, pool) for layer in layers for pool in options.pools or (None,)]
    specs = [_variant(spec, stages, pools, layer, pool, whole=options.whole) for layer, pool in asked]
    return tuple(dict.fromkeys(specs))


def _variant(
    spec: EncoderSpec, stages: Sequence[Stage], pools: Sequence[str], layer: int, asked: str | None, *, whole: bool
) -> EncoderSpec:
    choices = [pool for pool in pools if layer == -1 or pool != "pooler"]
    if asked is not None and asked not in choices:
        of = spec.name if layer == -1 else f"{spec.name}@{layer}"
        raise ValueError(
            f"pool of {of!r} must be one of {', '.join(choices)}; got {asked!r}{near_names(asked, choices)}"
        )
    pool = asked or choices[0]
    variant = EncoderName(spec.name, None if layer == -1 else layer, None if pool == choices[0] else pool, whole=whole)
    stage = stages[-layer - 1]
    return replace(spec, name=spec.name + variant.suffix, layer=stage.layer, pool=pool, width=stage.width)


def layer_names(specs: Sequence[EncoderSpec]) -> list[str]:
    """The distinct layers of these specs, in their order."""
    return list(dict.fromkeys(spec.layer for spec in specs))


def _exists(name: str) -> bool:
    path = name.removeprefix("gensim:")
    return bool(path) and Path(path).expanduser().exists()
