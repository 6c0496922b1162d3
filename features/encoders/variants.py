"""Encoder names with suffixes, as `NAME@LAYER@POOL` (see FORM), and the specs of layers and poolings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from ..messages import near_names
from ..spec import Dtype, EncoderSpec, Modality, SourceKind, canonical
from ..words.chinese import load_jieba
from .encoder import EncoderOptions

FORM = "NAME[@LAYER][@POOL][@whole][@ocr][@joint][@viewK]"
NUMBER_POOLS = ("logits", "prompts")  # a few numbers with names
WHOLE_POOLS = ("pooler", *NUMBER_POOLS)  # vectors that the model makes itself
POOLS = ("mean", "cls", "max", "last", *WHOLE_POOLS, "inferred")
WHOLE = {"crop_pct": 1.0, "crop_mode": "squash"}  # the whole picture, as timm's config writes it
PREFIXES = ("gensim:", "st:")  # of names whose rest may be a path
LAYER = r"-[1-9]\d*"
SWITCHES = r"(?:@(whole))?(?:@(ocr))?(?:@(joint))?"
NAME = re.compile(rf"(.*?)(?:@({LAYER}))?(?:@({'|'.join(POOLS)}))?{SWITCHES}(?:@view(\d+))?", re.DOTALL)


class Stage(NamedTuple):
    """A layer of a model that outputs tokens: its name in the spec, and its width D."""

    layer: str
    width: int


@dataclass(frozen=True)
class EncoderName:
    """A parsed name. None means the encoder's own layer, its own pooling, the plain image."""

    base: str
    layer: int | None = None
    pool: str | None = None
    view: int | None = None
    whole: bool = False  # the whole picture is resized to the model's square, which the encoder itself would crop
    ocr: bool = False  # a text encoder reads the text inside the image
    joint: bool = False  # image and text are embedded together

    @property
    def suffix(self) -> str:
        """The part after the base."""
        view = None if self.view is None else f"view{self.view}"
        whole = "whole" if self.whole else None
        ocr = "ocr" if self.ocr else None
        joint = "joint" if self.joint else None
        return "".join(f"@{part}" for part in (self.layer, self.pool, whole, ocr, joint, view) if part is not None)

    def narrow(self, options: EncoderOptions) -> EncoderOptions:
        """The options, overridden by what the name says."""
        return replace(
            options,
            layers=options.layers if self.layer is None else (self.layer,),
            pools=options.pools if self.pool is None else (self.pool,),
            whole=options.whole or self.whole,
            joint=self.joint,
        )


def parse_encoder_name(name: str, *, local: bool = True) -> EncoderName:
    """Parse a name from the right, with at most one suffix of each kind; the rest is the base.

    With `local`, an existing path is a base, whatever suffixes it seems to have.
    """
    heads = [name[: at.start()] for at in re.finditer("@|$", name)] if local else []
    paths = [head for head in heads if (path := split_prefix(head)[1]) and Path(path).expanduser().exists()]
    start = max(map(len, paths), default=0) or 1  # of what may be suffixes
    match = NAME.fullmatch(name, start)
    assert match is not None
    rest, layer, pool, *switches, view = match.groups()
    whole, ocr, joint = (switch is not None for switch in switches)
    base = name[:start] + rest
    return EncoderName(base, int(layer) if layer else None, pool, int(view) if view else None, whole, ocr, joint)


def split_prefix(name: str) -> tuple[str, str]:
    """The prefix of a name whose rest may be a path, empty where it has none, and the rest."""
    prefix = next((known for known in PREFIXES if name.startswith(known)), "")
    return prefix, name.removeprefix(prefix)


def safe_base_name(base: str) -> str:
    """The base name in a spec: a path that ends like a suffix has its '@' replaced."""
    return base if parse_encoder_name(base, local=False).base == base else base.replace("@", "_")


def read_layers(text: str) -> tuple[int, ...]:
    """`-1,-4` as (-1, -4). Raises ValueError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(LAYER, part) for part in parts):
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
    if options.clean == "strict_zh":
        load_jieba()
        preprocess = {**preprocess, "clean": {"jieba": metadata.version("jieba"), "version": 1}}
    specs = []
    for layer in options.layers or (-1,):
        if not -len(stages) <= layer <= -1:
            there = ", ".join(f"-{number} ({stage.layer})" for number, stage in enumerate(stages, 1))
            raise ValueError(f"layer of {name!r} must be one of {there}; got {layer}")
        stage, inner = stages[-layer - 1], None if layer == -1 else layer
        choices = [pool for pool in pools if inner is None or pool != "pooler"]
        for pool in options.pools or choices[:1]:
            if pool not in choices:
                of = name if inner is None else f"{name}@{layer}"
                raise ValueError(
                    f"pool of {of!r} must be one of {', '.join(choices)}; got {pool!r}{near_names(pool, choices)}"
                )
            variant = EncoderName(
                name, inner, None if pool == choices[0] else pool, whole=options.whole, joint=options.joint
            )
            spec = EncoderSpec(
                name=name + variant.suffix,
                modality=modality,
                source=source,
                architecture=architecture,
                weights=weights,
                layer=stage.layer,
                pool=pool,
                preprocess=canonical(preprocess),
                width=stage.width,
                dtype=dtype or options.dtype,
                clean=options.clean,
                max_length=max_length,
            )
            specs.append(spec)
    return tuple(dict.fromkeys(specs))


def layer_names(specs: Sequence[EncoderSpec]) -> list[str]:
    """The distinct layers of these specs, in their order."""
    return list(dict.fromkeys(spec.layer for spec in specs))
