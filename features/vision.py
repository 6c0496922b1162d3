"""Image encoders of torchvision and timm: a feature map or patch tokens, and their pooled vector."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from .encoders import EncoderOptions, EncoderSpec, Source, canonical, near_names, require
from .hub import fetch_hub
from .weights import fetch_url, load_into, load_state, torch_hub_file, weights_id

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .imaging import ImageEncoder
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
HEADS = (
    "classifier.",
    "fc.",
    "head.",
    "heads.",
    "AuxLogits.",
)  # classifiers, of this model or of another task


def open_torchvision(name: str, options: EncoderOptions, *, width: int) -> Source:
    """A torchvision classification model without its classifier. Raises ValueError."""
    from torchvision.models import get_model_weights

    published = get_model_weights(name).IMAGENET1K_V1
    transform = published.transforms()
    layer = next(node for family, node in LAYERS.items() if name.startswith(family))
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
        pool="cls" if layer == "encoder" else "mean",
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

    def load(runtime: Runtime) -> ImageEncoder:
        from .imaging import ImageEncoder, MapBackbone, resize_and_crop
        from .tower import ImageTower, flatten_map

        if options.weights is None:
            fetch_url(published.url, file)
        extractor = build_torchvision(name, layer)
        load_into(extractor, modern_keys(load_state(file)), ignore_head=HEADS)
        backbone = MapBackbone(extractor, lambda model, pixels: flatten_map(model(pixels)["map"]))
        tower = ImageTower(backbone, [spec], mean=transform.mean, std=transform.std)
        resize = partial(
            resize_and_crop,
            resize_size=transform.resize_size,
            crop_size=transform.crop_size,
            interpolation=transform.interpolation.value,
            antialias=transform.antialias,
        )
        return ImageEncoder([spec], resize, tower, runtime)

    return Source((spec,), load)


def build_torchvision(name: str, layer: str) -> nn.Module:
    """The graph up to `layer`, with random weights; its output is {'map': Tensor}."""
    from torchvision.models import get_model
    from torchvision.models.feature_extraction import create_feature_extractor

    # the published weights of Inception were trained on another normalisation, which the model itself undoes
    extra = {"init_weights": False, "transform_input": True} if name == "inception_v3" else {}
    model = get_model(name, weights=None, **extra).eval()
    extractor: nn.Module = create_feature_extractor(model, {layer: "map"}, suppress_diff_warning=True)
    return extractor


def modern_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of the published DenseNet files, which are older than the present module names."""
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
    return {old.sub(r"\1\2", key): value for key, value in state.items()}


def open_timm(name: str, options: EncoderOptions) -> Source:
    """`timm:NAME` without its classifier. Raises ValueError."""
    require("timm", name, extra="offline")
    architecture = name.removeprefix("timm:")
    sketch = sketch_timm(architecture)
    preprocess = timm_preprocess(sketch)
    shape, classed = timm_shape(sketch, preprocess)
    published = dict(sketch.pretrained_cfg)
    hub, filename = published.get("hf_hub_id", ""), published.get("hf_hub_filename") or "model.safetensors"
    if options.weights is None and not hub:
        raise ValueError(f"the hub has no weights of {name!r}; pass --weights FILE")
    if options.weights is None and options.local_files_only:
        fetch_hub(hub, filename, local_files_only=True)
    spec = EncoderSpec(
        name=name,
        modality="image",
        source="timm",
        architecture=str(published["architecture"]),
        weights=weights_id([options.weights]) if options.weights else f"timm:{hub}:{published.get('tag', '')}",
        layer="forward_features",
        pool="cls" if classed else "mean",
        preprocess=canonical(preprocess),
        width=shape[-1],
        dtype=options.dtype,
    )

    def load(runtime: Runtime) -> ImageEncoder:
        import timm

        if options.weights:
            model = timm.create_model(architecture, pretrained=False, num_classes=0)
            load_into(model, load_state(options.weights), ignore_head=HEADS)
        else:
            file = fetch_hub(hub, filename, local_files_only=options.local_files_only)
            overlay = {"file": str(file), "custom_load": False}
            model = timm.create_model(architecture, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
        return timm_encoder(spec, model, runtime)

    return Source((spec,), load)


def timm_encoder(spec: EncoderSpec, model: nn.Module, runtime: Runtime) -> ImageEncoder:
    """Wrap a timm model that carries its weights; the preprocessing is what the spec says."""
    from .imaging import ImageEncoder, MapBackbone, resize_and_crop
    from .tower import ImageTower, flatten_map

    nhwc = getattr(model, "output_fmt", "NCHW") == "NHWC"
    config = json.loads(spec.preprocess)
    backbone = MapBackbone(model, lambda own, pixels: flatten_map(own.forward_features(pixels), channels_last=nhwc))
    tower = ImageTower(backbone, [spec], mean=config["mean"], std=config["std"])
    side = config["input_size"][-1]
    scale = int(side / config["crop_pct"])
    resize = partial(
        resize_and_crop,
        resize_size=[scale, scale] if config["crop_mode"] == "squash" else [scale],
        crop_size=[side],
        interpolation=config["interpolation"],
        antialias=True,
    )
    return ImageEncoder([spec], resize, tower, runtime)


def sketch_timm(architecture: str) -> Any:
    """The model without memory for its weights. Raises ValueError for a name or tag that timm does not have."""
    import timm
    import torch

    if not timm.is_model(architecture.split(".")[0]):
        near = near_names(architecture, timm.list_models())
        raise ValueError(f"timm {timm.__version__} has no model {architecture!r}{near}")
    try:
        with torch.device("meta"):
            return timm.create_model(architecture, pretrained=False, num_classes=0).eval()
    except RuntimeError as error:
        raise ValueError(f"timm cannot build {architecture!r}: {str(error).splitlines()[0]}") from error


def timm_preprocess(model: Any) -> dict[str, object]:
    """What timm itself would do to an image for this model. Raises ValueError for what tensors cannot do."""
    from timm.data import resolve_model_data_config

    config: dict[str, Any] = resolve_model_data_config(model)
    known = config["interpolation"] in ("bilinear", "bicubic", "nearest") and config["crop_mode"] in (
        "center",
        "squash",
    )
    if not known or config["input_size"][1] != config["input_size"][2] or config["input_size"][0] != 3:
        raise ValueError(f"timm model needs an unsupported preprocessing: {config}; choose another model")
    return config


def timm_shape(model: Any, preprocess: Mapping[str, Any]) -> tuple[tuple[int, ...], bool]:
    """Shape (1, T, D) of the tokens, and whether the first is a class token. Raises ValueError without one map."""
    import torch

    from .tower import flatten_map

    features = model.forward_features(torch.empty(1, *preprocess["input_size"], device="meta"))
    if not isinstance(features, torch.Tensor) or features.ndim not in (3, 4):
        raise ValueError(f"{type(model).__name__} of timm does not end in one feature map or token sequence")
    nhwc = getattr(model, "output_fmt", "NCHW") == "NHWC"
    classed = features.ndim == 3 and getattr(model, "cls_token", None) is not None
    return tuple(flatten_map(features, channels_last=nhwc).shape), classed
