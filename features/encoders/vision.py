"""Image encoders of torchvision: feature maps or patch tokens of one or more stages, and their pooled vectors."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..model_files.weights import fetch_url, load_into, load_state, torch_hub_file, weights_id
from ..spec import EncoderSpec
from .encoder import EncoderOptions, Source
from .runtime import Runtime
from .variants import Stage, layer_names, make_specs, only_last_layer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .image_encoder import ImageEncoder

LAYERS = {  # family -> graph node of the last map or hidden state; modules that end stages, the last being that node
    "alexnet": ("features", r"features\.\d+"),
    "convnext": ("features", r"features\.[1357]"),
    "densenet": ("relu", r"features\.denseblock\d"),
    "efficientnet": ("features", r"features\.\d"),
    "inception": ("Mixed_7c", r"Mixed_\w+"),
    "mobilenet": ("features", r"features\.\d+"),
    "resnet": ("layer4", r"layer\d"),
    "resnext": ("layer4", r"layer\d"),
    "swin": ("permute", r"features\.[1357]"),
    "vgg": ("features", r"features\.\d+"),
    "vit": ("encoder", r"encoder\.layers\.encoder_layer_\d+"),
    "wide_resnet": ("layer4", r"layer\d"),
}
POOLED = ("alexnet", "vgg")  # their stages end in max-pooling
CLASSIFIERS = ("classifier.", "fc.", "head.", "heads.", "AuxLogits.")  # how their keys begin


def open_torchvision(name: str, options: EncoderOptions, *, width: int) -> Source:
    """A torchvision classification model without its classifier. Raises ValueError.

    Layer -1 is the last map or, of a vision transformer, the last hidden state after its layer norm; -2, -3, … are
    the outputs of the stages or blocks before it.
    """
    from torchvision.models import get_model_weights

    published = get_model_weights(name).IMAGENET1K_V1
    transform = published.transforms()
    if options.whole:
        transform.resize_size = transform.crop_size * 2  # both sides, so that no crop remains
    layer = LAYERS[_family(name)][0]
    file = torch_hub_file(published.url, must_exist=options.local_files_only and options.weights is None)
    specs = make_specs(
        options,
        name=name,
        modality="image",
        source="torchvision",
        architecture=name,
        weights=weights_id([options.weights]) if options.weights else f"torchvision:{published}:{file.name}",
        preprocess={
            "antialias": transform.antialias,
            "crop_size": transform.crop_size,
            "interpolation": transform.interpolation.value,
            "mean": transform.mean,
            "resize_size": transform.resize_size,
            "std": transform.std,
        },
        stages=[Stage(layer, width)] if only_last_layer(options) else torchvision_stages(name),
        pools=("cls", "mean", "max") if layer == "encoder" else ("mean", "max"),
    )

    def load(runtime: Runtime) -> ImageEncoder:
        file = options.weights or fetch_url(published.url, local_files_only=options.local_files_only)
        model = build_torchvision(name)
        old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")  # names in the published files of DenseNet
        state = {old.sub(r"\1\2", key): value for key, value in load_state(file).items()}
        load_into(model, state, ignore_head=CLASSIFIERS)
        return torchvision_encoder(name, specs, model, runtime)

    return Source(specs, load)


def torchvision_encoder(name: str, specs: Sequence[EncoderSpec], model: nn.Module, runtime: Runtime) -> ImageEncoder:
    """Wrap a torchvision model with its weights; the specs hold the preprocessing."""
    from .image_encoder import ImageEncoder, resize_and_crop
    from .tower import Backbone, ImageTower, flatten_map

    config = json.loads(specs[0].preprocess)
    layers = layer_names(specs)

    def features(extractor: Any, pixels: Tensor) -> tuple[list[Tensor], None]:
        maps = extractor(pixels)
        return [flatten_map(maps[node], channels_last=_is_channels_last(name, node)) for node in layers], None

    backbone = Backbone(cut_torchvision(model, layers), features)
    prefix = int(LAYERS[_family(name)][0] == "encoder")  # the class token
    tower = ImageTower(backbone, specs, mean=config.pop("mean"), std=config.pop("std"), prefix=prefix)
    return ImageEncoder(specs, partial(resize_and_crop, **config), tower, runtime)


def build_torchvision(name: str) -> nn.Module:
    """The model with random weights."""
    from torchvision.models import get_model

    # Inception's published weights need another normalisation, which the model itself applies
    extra = {"init_weights": False, "transform_input": True} if name == "inception_v3" else {}
    model: nn.Module = get_model(name, weights=None, **extra).eval()
    return model


def cut_torchvision(model: nn.Module, layers: Sequence[str]) -> nn.Module:
    """The graph up to the last of `layers`, with the model's weights; its output is {layer: Tensor}."""
    from torchvision.models.feature_extraction import create_feature_extractor

    extractor: nn.Module = create_feature_extractor(model, list(layers), suppress_diff_warning=True)
    return extractor


def torchvision_stages(name: str) -> list[Stage]:
    """The stages of a model, from the last to the first, found without weights."""
    import torch
    from torchvision.models import get_model_weights

    family = _family(name)
    last, ends = LAYERS[family]
    side = get_model_weights(name).IMAGENET1K_V1.transforms().crop_size[0]
    with torch.device("meta"):
        model = build_torchvision(name)
        found = [
            node
            for node, module in model.named_modules()
            if re.fullmatch(ends, node) and (family not in POOLED or isinstance(module, torch.nn.MaxPool2d))
        ]
        nodes = [last, *found[-2::-1]]
        maps = cut_torchvision(model, nodes)(torch.empty(1, 3, side, side))
    shapes = {node: maps[node].shape for node in nodes}
    return [
        Stage(node, shape[-1] if len(shape) == 3 or _is_channels_last(name, node) else shape[1])
        for node, shape in shapes.items()
    ]


def stage_pattern(name: str) -> str:
    """Regular expression of the names of the modules that end a model's stages."""
    return LAYERS[_family(name)][1]


def _family(name: str) -> str:
    return next(family for family in LAYERS if name.startswith(family))


def _is_channels_last(name: str, node: str) -> bool:
    return name.startswith("swin") and node != LAYERS["swin"][0]
