"""Image encoders of torchvision: feature maps or patch tokens of one or more stages, and their pooled vectors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..spec import EncoderSpec, canonical
from .encoder import EncoderOptions, Source
from .variants import Stage, expand, layer_names, only_last_layer
from .weights import fetch_url, load_into, load_state, torch_hub_file, weights_id

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .image_encoder import ImageEncoder
    from .runtime import Runtime

LAYERS = {  # torchvision family -> the graph node that holds the last map or the last hidden state
    "alexnet": "features",
    "convnext": "features",
    "densenet": "relu",
    "efficientnet": "features",
    "inception": "Mixed_7c",
    "mobilenet": "features",
    "resnet": "layer4",
    "resnext": "layer4",
    "swin": "permute",
    "vgg": "features",
    "vit": "encoder",
    "wide_resnet": "layer4",
}
STAGES = {  # torchvision family -> the modules that end its stages; the node above takes the place of the last
    "alexnet": r"features\.\d+",
    "convnext": r"features\.[1357]",
    "densenet": r"features\.denseblock\d",
    "efficientnet": r"features\.\d",
    "inception": r"Mixed_\w+",
    "mobilenet": r"features\.\d+",
    "resnet": r"layer\d",
    "resnext": r"layer\d",
    "swin": r"features\.[1357]",
    "vgg": r"features\.\d+",
    "vit": r"encoder\.layers\.encoder_layer_\d+",
    "wide_resnet": r"layer\d",
}
POOLED = ("alexnet", "vgg")  # their stages end in max-pooling
HEADS = (
    "classifier.",
    "fc.",
    "head.",
    "heads.",
    "AuxLogits.",
)  # classifiers, of this model or of another task


def open_torchvision(name: str, options: EncoderOptions, *, width: int) -> Source:
    """A torchvision classification model without its classifier. Raises ValueError.

    Layer -1 is the last map or, of a vision transformer, the last hidden state after its layer norm; -2, -3, … are
    the stages or blocks before it, as they leave them.
    """
    from torchvision.models import get_model_weights

    published = get_model_weights(name).IMAGENET1K_V1
    transform = published.transforms()
    if options.whole:
        transform.resize_size = transform.crop_size * 2  # both sides, so that nothing is left to crop
    layer = LAYERS[_family(name)]
    classed = layer == "encoder"
    file = options.weights or torch_hub_file(published.url)
    if options.weights is None and options.local_files_only and not file.exists():
        raise ValueError(f"weights of {name!r} are not here; download {published.url} and pass --weights FILE")
    spec = EncoderSpec(
        name=name,
        modality="image",
        source="torchvision",
        architecture=name,
        weights=weights_id([file]) if options.weights else f"torchvision:{published}:{file.name}",
        layer=layer,
        pool="cls" if classed else "mean",
        preprocess=canonical(
            {
                "antialias": transform.antialias,
                "crop_size": transform.crop_size,
                "interpolation": transform.interpolation.value,
                "mean": transform.mean,
                "resize_size": transform.resize_size,
                "std": transform.std,
            }
        ),
        width=width,
        dtype=options.dtype,
    )
    stages = [Stage(layer, width)] if only_last_layer(options) else torchvision_stages(name)
    specs = expand(spec, options, stages=stages, pools=("cls", "mean", "max") if classed else ("mean", "max"))

    def load(runtime: Runtime) -> ImageEncoder:
        from .image_encoder import ImageEncoder, MapBackbone, resize_and_crop
        from .tower import ImageTower, flatten_map

        if options.weights is None:
            fetch_url(published.url, file)
        model = build_torchvision(name)
        load_into(model, modern_keys(load_state(file)), ignore_head=HEADS)
        layers = layer_names(specs)

        def features(extractor: Any, pixels: Tensor) -> list[Tensor]:
            maps = extractor(pixels)
            return [flatten_map(maps[node], channels_last=_is_channels_last(name, node)) for node in layers]

        backbone = MapBackbone(cut_torchvision(model, layers), features)
        tower = ImageTower(backbone, specs, mean=transform.mean, std=transform.std, prefix=int(classed))
        resize = partial(
            resize_and_crop,
            resize_size=transform.resize_size,
            crop_size=transform.crop_size,
            interpolation=transform.interpolation.value,
            antialias=transform.antialias,
        )
        return ImageEncoder(specs, resize, tower, runtime)

    return Source(specs, load)


def build_torchvision(name: str) -> nn.Module:
    """The model with random weights."""
    from torchvision.models import get_model

    # the published weights of Inception were trained on another normalisation, which the model itself undoes
    extra = {"init_weights": False, "transform_input": True} if name == "inception_v3" else {}
    model: nn.Module = get_model(name, weights=None, **extra).eval()
    return model


def cut_torchvision(model: nn.Module, layers: Sequence[str]) -> nn.Module:
    """The graph up to the last of `layers`, with the model's weights; its output is {layer: Tensor}."""
    from torchvision.models.feature_extraction import create_feature_extractor

    extractor: nn.Module = create_feature_extractor(model, list(layers), suppress_diff_warning=True)
    return extractor


def torchvision_stages(name: str) -> list[Stage]:
    """The stages of a model, from the last to the first; no weights are made."""
    import torch
    from torchvision.models import get_model_weights

    side = get_model_weights(name).IMAGENET1K_V1.transforms().crop_size[0]
    with torch.device("meta"):
        model = build_torchvision(name)
        nodes = stage_nodes(name, model)
        maps = cut_torchvision(model, nodes)(torch.empty(1, 3, side, side))
    shapes = {node: maps[node].shape for node in nodes}
    return [
        Stage(node, shape[-1] if len(shape) == 3 or _is_channels_last(name, node) else shape[1])
        for node, shape in shapes.items()
    ]


def stage_nodes(name: str, model: nn.Module) -> list[str]:
    """The graph nodes of a model's stages, from the last to the first."""
    from torch import nn

    family = _family(name)
    ends = [
        node
        for node, module in model.named_modules()
        if re.fullmatch(STAGES[family], node) and (family not in POOLED or isinstance(module, nn.MaxPool2d))
    ]
    return [LAYERS[family], *ends[-2::-1]]


def modern_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of the published DenseNet files, which are older than the present module names."""
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
    return {old.sub(r"\1\2", key): value for key, value in state.items()}


def _family(name: str) -> str:
    return next(family for family in LAYERS if name.startswith(family))


def _is_channels_last(name: str, node: str) -> bool:
    return name.startswith("swin") and node != LAYERS["swin"]
