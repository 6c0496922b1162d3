from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from image_checks import IMAGES, assert_close, check, rows, save
from safetensors.torch import save_file
from torch import Tensor

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.zoo import open_encoder


def timm_model(name: str) -> Any:
    import timm

    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5).eval()


def timm_pixels(model: Any) -> Tensor:
    from timm.data import resolve_model_data_config
    from torchvision import transforms as T

    config = resolve_model_data_config(model)
    side = config["input_size"][1]
    mode = T.InterpolationMode(config["interpolation"])
    steps = [T.Resize(int(side / config["crop_pct"]), mode, antialias=True), T.CenterCrop(side)]
    steps += [T.ConvertImageDtype(torch.float32), T.Normalize(config["mean"], config["std"])]
    return torch.stack([T.Compose(steps)(image) for image in IMAGES])


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "vit_small_patch16_dinov3"])
def test_timm_equals_a_direct_forward(tmp_path: Path, name: str) -> None:
    model = timm_model(name)
    options = save(model.state_dict(), tmp_path / "w.pth")
    with torch.inference_mode():
        features = model.forward_features(timm_pixels(model))
    tokens = rows(features) if features.ndim == 4 else features
    check(f"timm:{name}", options, tokens, tokens[:, 0] if features.ndim == 3 else tokens.mean(1))


ZOO_OF_TIMM = (
    *("resnetv2_50", "resnetv2_18", "inception_resnet_v2", "legacy_xception", "xception41", "nasnetalarge"),
    *("mobilenetv1_100", "tf_efficientnet_b0", "vit_base_patch16_224", "swin_tiny_patch4_window7_224"),
)


@pytest.mark.parametrize(
    "name",
    ["test_vit", "test_resnet", "test_convnext", *(pytest.param(n, marks=pytest.mark.slow) for n in ZOO_OF_TIMM)],
)
def test_timm_layers_are_what_timm_gives(tmp_path: Path, name: str) -> None:
    """Every layer in one pass equals timm's own forward_intermediates, or forward_features."""
    model = timm_model(name)
    options = save(model.state_dict(), tmp_path / "w.pth")
    pixels = timm_pixels(model)[:1]
    with torch.inference_mode():
        last = model.forward_features(pixels)
        form = {"output_fmt": "NLC", "return_prefix_tokens": True} if last.ndim == 3 else {"output_fmt": "NCHW"}
        inner = model.forward_intermediates(pixels, intermediates_only=True, **form)
    if last.ndim == 3:
        assert model.num_prefix_tokens == 1
        inner = [torch.cat([prefix, patches], 1) for patches, prefix in inner]
    elif getattr(model, "output_fmt", "NCHW") == "NHWC":
        last = last.permute(0, 3, 1, 2)
    if inner[-1].shape == last.shape:
        inner.pop()
    expected = [states if states.ndim == 3 else rows(states) for states in (last, *reversed(inner))]
    layers = tuple(-number for number in range(1, len(expected) + 1))
    encoder = open_encoder(f"timm:{name}", "image", replace(options, layers=layers, pools=("mean",))).load(Runtime())
    encoded = encoder.encode([encoder.preprocess(IMAGES[0])])
    for spec, result, tokens in zip(encoder.specs, encoded, expected, strict=True):
        assert spec.width == tokens.shape[-1]
        assert_close(result.tokens[0], tokens[0])
        assert_close(result.pooled[0], tokens[0, int(last.ndim == 3) :].mean(0), of=tokens)
    with pytest.raises(ValueError, match=rf"must be one of -1 \(forward_features\), .*; got -{len(layers) + 1}"):
        open_encoder(f"timm:{name}@-{len(layers) + 1}", "image", options)


def test_timm_layers_are_safe_from_threads(tmp_path: Path) -> None:
    options = save(timm_model("test_resnet").state_dict(), tmp_path / "w.pth")
    encoder = open_encoder("timm:test_resnet", "image", replace(options, layers=(-1, -2, -3))).load(Runtime())
    prepared = [encoder.preprocess(image) for image in IMAGES]
    alone = [encoder.encode([item]) for item in prepared]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda item: encoder.encode([item]), prepared * 8))
    for index, results in enumerate(together):
        for result, expected in zip(results, alone[index % len(alone)], strict=True):
            assert_close(result.pooled[0], torch.from_numpy(expected.pooled[0]))


def test_timm_channels_last_maps_are_read_row_by_row(tmp_path: Path) -> None:
    from msa.features.encoders.tower import flatten_map

    maps = torch.arange(24.0).view(1, 2, 3, 4)  # (B, D, h, w)
    assert torch.equal(flatten_map(maps), rows(maps))
    assert torch.equal(flatten_map(maps.permute(0, 2, 3, 1), channels_last=True), rows(maps))


def test_timm_default_weights_come_from_the_hub_cache(tmp_path: Path) -> None:
    import timm

    published = timm.create_model("test_resnet").pretrained_cfg
    local = EncoderOptions(local_files_only=True, dtype="float32")
    with pytest.raises(ValueError, match="pass --weights FILE"):
        open_encoder("timm:test_resnet", "image", local)
    repo = tmp_path / "hub" / f"models--{published['hf_hub_id'].replace('/', '--')}"
    snapshot = repo / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    torch.manual_seed(0)
    model = timm.create_model("test_resnet").eval()
    save_file(model.state_dict(), snapshot / "model.safetensors")
    with torch.inference_mode():
        features = model.forward_features(timm_pixels(model))
    check("timm:test_resnet", local, rows(features), features.mean((2, 3)))
    spec = open_encoder("timm:test_resnet", "image", local).spec
    assert spec.weights == f"timm:{published['hf_hub_id']}:{published['tag']}"


def test_timm_unknown_names_and_tags() -> None:
    with pytest.raises(ValueError, match=r"no model 'test_vitt'; did you mean .*test_vit"):
        open_encoder("timm:test_vitt", "image")
    with pytest.raises(ValueError, match=r"cannot build 'test_vit\.nothing'"):
        open_encoder("timm:test_vit.nothing", "image")
