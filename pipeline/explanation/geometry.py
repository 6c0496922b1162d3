"""Where in a picture the tokens of an image encoder lie: the part that it sees, and the grid over that part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any, NamedTuple

from ...features.spec import EncoderSpec
from ..config.values import Grid

SQUASHED = 384  # ConvNeXt's processor crops below this size, and squashes from it on
MOST_PREFIX = 8  # class, distillation and register tokens before the patches


class Box(NamedTuple):
    """Edges in pixels of the upright picture, fractions included. A crop may reach beyond a small picture."""

    top: float
    left: float
    bottom: float
    right: float


def seen_box(spec: EncoderSpec, height: int, width: int) -> Box | None:
    """The part of an upright picture (H, W) that an encoder sees; None where its preprocessing is not known."""
    found = _resize_and_crop(json.loads(spec.preprocess))
    if found is None:
        return None
    resized = _resized(found[0], height, width)
    crop = found[1] or resized
    scale = height / resized[0], width / resized[1]
    top, left = (round((size - kept) / 2) for size, kept in zip(resized, crop, strict=True))  # as torchvision rounds
    return Box(top * scale[0], left * scale[1], (top + crop[0]) * scale[0], (left + crop[1]) * scale[1])


def token_grid(tokens: int, patches: Grid | None, *, prefixes: int = MOST_PREFIX) -> tuple[int, Grid] | None:
    """How many tokens come before the patches, and the rows and columns of these; None where they form no square.

    `patches` is the grid to which they were pooled, if any; `prefixes` the most tokens before the patches.
    """
    if patches and patches[0] * patches[1] == tokens:
        return 0, patches
    side = isqrt(tokens)
    prefix = tokens - side * side
    return (prefix, (side, side)) if side > 1 and prefix <= prefixes else None


def _resize_and_crop(config: Mapping[str, Any]) -> tuple[Sequence[int], tuple[int, int] | None] | None:
    """The size that a picture is resized to, of its short side or of both, and of the centre crop, if any."""
    if "resize_size" in config:  # torchvision, and raw pixels
        crop = [*config["crop_size"], config["crop_size"][-1]]
        return config["resize_size"], (crop[0], crop[1])
    if "crop_mode" in config:  # timm
        side = int(config["input_size"][-1])
        scaled = int(side / config["crop_pct"])
        return [scaled] * (2 if config["crop_mode"] == "squash" else 1), (side, side)
    size = config.get("size")
    if not isinstance(size, Mapping) or not config.get("do_resize", False):
        return None
    short = size.get("shortest_edge")
    if short and "crop_pct" in config:  # ConvNeXt of transformers
        return ([short, short], None) if short >= SQUASHED else ([int(short / config["crop_pct"])], (short, short))
    if not short and not (size.get("height") and size.get("width")):
        return None
    kept = config.get("crop_size") if config.get("do_center_crop") else None
    return [short] if short else [size["height"], size["width"]], (kept["height"], kept["width"]) if kept else None


def _resized(size: Sequence[int], height: int, width: int) -> tuple[int, int]:
    """Height and width after a resize of the short side, or of both."""
    if len(size) == 2:
        return size[0], size[1]
    short, long = min(height, width), max(height, width)
    longer = int(size[0] * long / short)
    return (size[0], longer) if height <= width else (longer, size[0])
