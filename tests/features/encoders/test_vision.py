from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_checks import IMAGES, assert_close, check, rows, save
from torch import Tensor, nn

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.vision import LAYERS, build_torchvision, cut_torchvision
from msa.features.encoders.zoo import TORCHVISION, open_encoder


def torchvision_model(name: str) -> Any:
    from torchvision.models import get_model

    torch.manual_seed(0)
    model = get_model(name, weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # a fresh one would hide statistics that were not loaded
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def pixels(name: str) -> Tensor:
    from torchvision.models import get_model_weights

    transform = get_model_weights(name).IMAGENET1K_V1.transforms()
    return torch.stack([transform(image) for image in IMAGES])


@torch.inference_mode()
def resnet_map(model: Any, x: Tensor) -> Tensor:
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    maps: Tensor = model.layer4(model.layer3(model.layer2(model.layer1(x))))
    return maps


def test_resnet_equals_a_direct_forward_and_ignores_a_foreign_head(tmp_path: Path) -> None:
    model = torchvision_model("resnet18")
    state = model.state_dict() | {"fc.weight": torch.zeros(3, 512), "fc.bias": torch.zeros(3)}
    options = save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pth")
    maps = resnet_map(model, pixels("resnet18"))
    check("resnet18", options, rows(maps), maps.mean((2, 3)))
    spec = open_encoder("resnet18", "image", options).spec
    assert (spec.layer, spec.pool, spec.width, spec.source) == ("layer4", "mean", 512, "torchvision")
    assert spec.weights.startswith("sha256:")


@pytest.mark.parametrize("name", ["mobilenet_v3_small", pytest.param("densenet121", marks=pytest.mark.slow)])
def test_families_with_features(tmp_path: Path, name: str) -> None:
    model = torchvision_model(name)
    state = model.state_dict()
    if name == "densenet121":  # the published files have the older names
        numbers = ((f"{layer}{i}.", f"{layer}.{i}.") for layer in ("norm", "conv") for i in (1, 2))
        for new, old in numbers:
            state = {k.replace(new, old) if "denselayer" in k else k: v for k, v in state.items()}
    options = save(state, tmp_path / "w.pth")
    with torch.inference_mode():
        maps = model.features(pixels(name))
        maps = maps.relu() if name == "densenet121" else maps
    check(name, options, rows(maps), maps.mean((2, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16", "vgg19_bn", "resnet50", "resnext50_32x4d", "inception_v3", "swin_t"])
def test_full_size_maps(tmp_path: Path, name: str, recwarn: pytest.WarningsRecorder) -> None:
    from torchvision.models import get_model

    torch.manual_seed(0)
    extra = {"init_weights": False, "transform_input": True} if name == "inception_v3" else {}
    model = get_model(name, weights=None, **extra).eval()
    options = save(model.state_dict(), tmp_path / "w.pth")
    seen: list[Tensor] = []
    layer = {"inception_v3": "Mixed_7c", "swin_t": "permute"}.get(name) or LAYERS[
        name[:3] if "vgg" in name else "resnet"
    ][0]
    model.get_submodule(layer).register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.inference_mode():
        model(pixels(name))
    check(name, options, rows(seen[0]), seen[0].mean((2, 3)))
    assert not recwarn.list


@pytest.mark.slow
def test_vision_transformer_keeps_all_tokens(tmp_path: Path) -> None:
    model = torchvision_model("vit_b_16")
    options = save(model.state_dict(), tmp_path / "w.pth")
    seen: list[Tensor] = []
    model.encoder.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.inference_mode():
        model(pixels("vit_b_16"))
    assert seen[0].shape == (3, 197, 768)
    check("vit_b_16", options, seen[0], seen[0][:, 0])


TV_STAGES = {  # from the last to the first, as the modules are called
    "resnet18": ["layer4", "layer3", "layer2", "layer1"],
    "mobilenet_v3_small": ["features", *(f"features.{number}" for number in range(11, -1, -1))],
    "vgg16": ["features", "features.23", "features.16", "features.9", "features.4"],
    "alexnet": ["features", "features.5", "features.2"],
    "densenet121": ["features.norm5", *(f"features.denseblock{number}" for number in (3, 2, 1))],
    "efficientnet_b0": ["features", *(f"features.{number}" for number in range(7, -1, -1))],
    "mobilenet_v2": ["features", *(f"features.{number}" for number in range(17, -1, -1))],
    "convnext_tiny": ["features", "features.5", "features.3", "features.1"],
    "swin_t": ["norm", "features.5", "features.3", "features.1"],
    "inception_v3": [f"Mixed_{stage}" for stage in ("7c", "7b", "7a", "6e", "6d", "6c", "6b", "6a", "5d", "5c", "5b")],
    "vit_b_16": ["encoder", *(f"encoder.layers.encoder_layer_{number}" for number in range(10, -1, -1))],
}
SWIFT = ("resnet18", "mobilenet_v3_small")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SWIFT else pytest.mark.slow) for name in TV_STAGES]
)
def test_layers_are_what_the_modules_give(tmp_path: Path, name: str) -> None:
    """All stages in one pass, and one alone, equal what hooks see in a plain forward of the whole model."""
    torch.manual_seed(0)
    model = build_torchvision(name) if name == "inception_v3" else torchvision_model(name)
    options = save(model.state_dict(), tmp_path / "w.pth")
    seen: dict[str, Tensor] = {}
    for module in TV_STAGES[name]:
        model.get_submodule(module).register_forward_hook(
            lambda own, given, output, module=module: seen.__setitem__(module, output.clone())
        )
    with torch.inference_mode():
        model(pixels(name)[:1])
    layers = tuple(-number for number in range(1, len(TV_STAGES[name]) + 1))
    encoder = open_encoder(name, "image", replace(options, layers=layers, pools=("mean", "max"))).load(Runtime())
    prepared = [encoder.preprocess(IMAGES[0])]
    encoded = encoder.encode(prepared)
    assert len(encoded) == 2 * len(layers)
    assert encoder.specs[0].name == (f"{name}@mean" if name.startswith("vit") else name)
    for number, module in enumerate(TV_STAGES[name]):
        states = seen[module].relu() if name == "densenet121" and number == 0 else seen[module]
        if name == "swin_t":
            states = states.permute(0, 3, 1, 2)
        tokens = states if states.ndim == 3 else rows(states)
        patches = tokens[0, 1:] if name.startswith("vit") else tokens[0]
        for pool, index in (("mean", 2 * number), ("max", 2 * number + 1)):
            assert encoder.specs[index].width == tokens.shape[-1]
            assert encoder.specs[index].pool == pool
            assert_close(encoded[index].tokens[0], tokens[0])
            assert_close(encoded[index].pooled[0], patches.mean(0) if pool == "mean" else patches.amax(0), of=patches)
    (alone,) = open_encoder(f"{name}@-3", "image", options).load(Runtime()).encode(prepared)
    np.testing.assert_allclose(alone.tokens[0], encoded[4].tokens[0], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=rf"must be one of -1 \(.*; got -{len(layers) + 1}"):
        open_encoder(f"{name}@-{len(layers) + 1}", "image", options)


def widths(name: str) -> int:
    from torchvision.models import get_model_weights

    side = get_model_weights(name).IMAGENET1K_V1.transforms().crop_size[0]
    layer = next(node for family, (node, _) in LAYERS.items() if name.startswith(family))
    with torch.device("meta"):
        output = cut_torchvision(build_torchvision(name), [layer])(torch.empty(1, 3, side, side))[layer]
    return int(output.shape[1] if output.ndim == 4 else output.shape[2])


@pytest.mark.parametrize("name", ["vgg16", "vgg19", "resnet50", "resnext101_32x8d", "wide_resnet50_2", "vit_b_16"])
def test_width_and_default_weights_are_stated_without_loading(name: str) -> None:
    spec = open_encoder(name, "image").spec
    assert spec.width == TORCHVISION[name] == widths(name)
    assert spec.weights.startswith("torchvision:")
    assert "IMAGENET1K_V1" in spec.weights


def test_default_weights_name_the_published_file() -> None:
    assert open_encoder("vgg16", "image").spec.weights == "torchvision:VGG16_Weights.IMAGENET1K_V1:vgg16-397923af.pth"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TORCHVISION))
def test_all_widths(name: str) -> None:
    assert widths(name) == TORCHVISION[name]


def test_wrong_weights_are_named(tmp_path: Path) -> None:
    state = torchvision_model("resnet18").state_dict()
    state["stem.weight"] = state.pop("conv1.weight")
    options = save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"1 missing \(conv1.weight\); 1 left over \(stem.weight\)"):
        open_encoder("resnet18", "image", options).load(Runtime())


def test_local_files_only_needs_the_file_and_checks_its_hash(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"resnet18-f37072fd\.pth and pass --weights"):
        open_encoder("resnet18", "image", EncoderOptions(local_files_only=True))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "resnet18-f37072fd.pth").write_bytes(b"something else")
    source = open_encoder("resnet18", "image", EncoderOptions(local_files_only=True))
    with pytest.raises(ValueError, match="should have sha256 f37072fd"):
        source.load(Runtime())


@pytest.mark.parametrize("name", ["resnet18", "timm:test_vit", "efficientnet_lite0"])
def test_options_for_texts_leave_an_image_encoder_as_it_is(name: str) -> None:
    for_texts = EncoderOptions(max_length=9, clean="social", corpus=("a text",))
    assert open_encoder(name, "image", for_texts).spec == open_encoder(name, "image").spec
