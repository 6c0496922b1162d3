"""Patches over pictures: a patch that is painted white where its box lies is white in the encoder's own input."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from planted import image_spec
from torch import Tensor
from torchvision.models import get_model_weights

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.image_encoder import resize_and_crop, split_processor
from msa.features.encoders.zoo import open_encoder
from msa.features.spec import canonical
from msa.pipeline.explanation.geometry import Box, seen_box, token_grid

GRID = 7
Resize = Callable[[Tensor], Tensor]


def timm_case(whole: bool) -> tuple[dict[str, Any], Resize]:
    config = json.loads(open_encoder("efficientnet_lite0", "image", EncoderOptions(whole=whole)).spec.preprocess)
    sizes: dict[str, Any] = {"resize_size": [224, 224] if whole else [256], "crop_size": [224]}
    return config, partial(resize_and_crop, **sizes, interpolation="bicubic", antialias=True)


def torchvision_case() -> tuple[dict[str, Any], Resize]:
    transform = get_model_weights("resnet18").IMAGENET1K_V1.transforms()  # type: ignore[attr-defined]
    sizes = {"resize_size": transform.resize_size, "crop_size": transform.crop_size}
    how = {"interpolation": "bilinear", "antialias": True}
    return sizes | how, partial(resize_and_crop, **sizes, **how)


def transformers_case(processor: Any) -> tuple[dict[str, Any], Resize]:
    return processor.to_dict(), split_processor(processor)[0]


CASES: dict[str, Callable[[], tuple[dict[str, Any], Resize]]] = {
    "timm": lambda: timm_case(False),
    "timm whole": lambda: timm_case(True),
    "torchvision": torchvision_case,
    "vit": lambda: transformers_case(hf.ViTImageProcessor(size={"height": 224, "width": 224})),
    "clip": lambda: transformers_case(hf.CLIPImageProcessor()),
    "dinov2": lambda: transformers_case(hf.BitImageProcessor(size={"shortest_edge": 256})),
    "convnext": lambda: transformers_case(hf.ConvNextImageProcessor(size={"shortest_edge": 224})),
    "convnext large": lambda: transformers_case(hf.ConvNextImageProcessor(size={"shortest_edge": 384})),
}


@pytest.mark.parametrize("shape", [(300, 500), (517, 260), (224, 224)])
@pytest.mark.parametrize("name", list(CASES))
def test_a_patch_lies_where_its_pixels_are(name: str, shape: tuple[int, int]) -> None:
    config, resize = CASES[name]()
    box = seen_box(replace(image_spec(), preprocess=canonical(config)), *shape)
    assert box is not None
    for row, column in ((0, 0), (2, 5), (6, 3)):
        picture = torch.zeros(3, *shape, dtype=torch.uint8)
        top, bottom = (round(box.top + (box.bottom - box.top) * at / GRID) for at in (row, row + 1))
        left, right = (round(box.left + (box.right - box.left) * at / GRID) for at in (column, column + 1))
        picture[:, max(top, 0) : bottom, max(left, 0) : right] = 255
        seen = resize(picture).float().mean(0)
        assert seen.shape[0] == seen.shape[1]
        cells = torch.nn.functional.adaptive_avg_pool2d(seen[None], GRID)[0] / 255
        white = torch.zeros(GRID, GRID)
        white[row, column] = 1
        assert (cells - white).abs().max() < 0.12  # a cell's edge falls between pixels


def test_a_crop_may_reach_beyond_a_small_picture_that_is_not_resized() -> None:
    sizes = {"resize_size": [100], "crop_size": [200], "interpolation": "bilinear", "antialias": True}
    box = seen_box(replace(image_spec(), preprocess=canonical(sizes)), 100, 400)
    assert box == Box(-50, 100, 150, 300)


def test_raw_pixels_are_cropped_as_for_imagenet() -> None:
    assert seen_box(open_encoder("pixels", "image").spec, 256, 256) == Box(16, 16, 240, 240)


@pytest.mark.parametrize("config", [{}, {"size": {"longest_edge": 9}, "do_resize": True}, {"do_resize": False}])
def test_unknown_preprocessing_has_no_box(config: dict[str, Any]) -> None:
    assert seen_box(replace(image_spec(), preprocess=canonical(config)), 30, 40) is None


@pytest.mark.parametrize(
    ("tokens", "patches", "expected"),
    [
        (49, None, (0, (7, 7))),
        (197, None, (1, (14, 14))),  # class token
        (261, None, (5, (16, 16))),  # class and register tokens
        (6, (2, 3), (0, (2, 3))),
        (16, (4, 4), (0, (4, 4))),
        (60, None, None),
        (3, None, None),
        (0, None, None),
    ],
)
def test_grid_of_tokens(tokens: int, patches: tuple[int, int] | None, expected: object) -> None:
    assert token_grid(tokens, patches) == expected


def test_tokens_that_were_imported_have_a_class_token_at_most() -> None:
    assert token_grid(18, None) == (2, (4, 4))
    assert token_grid(18, None, prefixes=1) is None


def test_rows_come_before_columns() -> None:
    box = seen_box(image_spec(), 100, 200)
    assert box is not None
    assert np.allclose(box, (6.25, 56.25, 93.75, 143.75), atol=0.5)
