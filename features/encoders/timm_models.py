"""Image encoders of timm: feature maps or patch tokens of one or more stages, and their pooled vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import local
from typing import TYPE_CHECKING, Any

from ..messages import first_line, near_names
from ..model_files.hub import fetch_hub
from ..model_files.weights import fetch_url, load_into, load_state, torch_hub_file, weights_id
from ..spec import EncoderSpec
from .encoder import EncoderOptions, Source, require
from .runtime import Runtime
from .variants import WHOLE, Stage, layer_names, make_specs, only_last_layer
from .vision import CLASSIFIERS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .image_encoder import ImageEncoder

LAST = "forward_features"


def open_timm(name: str, options: EncoderOptions) -> Source:
    """`timm:NAME` without its classifier. Raises ValueError.

    Layer -1 is the output of forward_features. The others are the outputs of the modules that the model's feature_info
    names; the last of these counts as layer -1 where forward_features only normalises it.
    """
    require("timm", name, extra="offline")
    architecture = name.removeprefix("timm:")
    meta = build_meta_model(architecture)
    preprocess = timm_preprocess(meta) | (WHOLE if options.whole else {})
    shape, classed = timm_shape(meta, preprocess)
    published = dict(meta.pretrained_cfg)
    if options.weights is None and not (published.get("hf_hub_id") or published.get("url")):
        raise ValueError(f"timm has no weights of {name!r}; pass --weights FILE")
    if options.weights is None and options.local_files_only:
        fetch_weights(published, local_files_only=True)
    specs = make_specs(
        options,
        name=name,
        modality="image",
        source="timm",
        architecture=str(published["architecture"]),
        weights=weights_id([options.weights]) if options.weights else published_weights_id(published),
        preprocess=preprocess,
        stages=[Stage(LAST, shape[-1])] if only_last_layer(options) else timm_stages(meta, preprocess),
        pools=("cls", "mean", "max") if classed else ("mean", "max"),
    )

    def load(runtime: Runtime) -> ImageEncoder:
        import timm

        if options.weights:
            model = timm.create_model(architecture, pretrained=False, num_classes=0)
            own = published.get("classifier") or ()  # may have another name, or belong to another task
            heads = [f"{name}." for name in ([own] if isinstance(own, str) else own)]
            load_into(model, load_state(options.weights), ignore_head=(*CLASSIFIERS, *heads))
        else:
            overlay = {"file": str(fetch_weights(published, options.local_files_only)), "custom_load": False}
            model = timm.create_model(architecture, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
        return timm_encoder(specs, model, runtime)

    return Source(specs, load)


def published_weights_id(published: Mapping[str, Any]) -> str:
    """`weights` of a spec for weights that timm publishes: repository and tag, or a file's name with its hash."""
    hub = published.get("hf_hub_id")
    return f"timm:{hub}:{published.get('tag', '')}" if hub else f"timm:{torch_hub_file(published['url']).name}"


def fetch_weights(published: Mapping[str, Any], local_files_only: bool) -> Path:
    """The file of published weights, downloaded if allowed. Raises ValueError."""
    if hub := published.get("hf_hub_id"):
        filename = published.get("hf_hub_filename") or "model.safetensors"
        return fetch_hub(hub, filename, local_files_only=local_files_only)
    return fetch_url(published["url"], local_files_only=local_files_only)


def timm_encoder(specs: Sequence[EncoderSpec], model: nn.Module, runtime: Runtime) -> ImageEncoder:
    """Wrap a timm model with its weights; the specs hold the preprocessing."""
    from .image_encoder import ImageEncoder, resize_and_crop
    from .tower import Backbone, ImageTower

    config = json.loads(specs[0].preprocess)
    layers = layer_names(specs)
    hooks = LayerHooks(model, [layer for layer in layers if layer != LAST])

    def features(own: Any, pixels: Tensor) -> tuple[list[Tensor], None]:
        maps = hooks(own, pixels)
        return [_tokens(own, maps[layer]) for layer in layers], None

    backbone, prefix = Backbone(model, features), int(getattr(model, "num_prefix_tokens", 0) or 0)
    tower = ImageTower(backbone, specs, mean=config["mean"], std=config["std"], prefix=prefix)
    side = config["input_size"][-1]
    scale = int(side / config["crop_pct"])
    resize = partial(
        resize_and_crop,
        resize_size=[scale, scale] if config["crop_mode"] == "squash" else [scale],
        crop_size=[side],
        interpolation=config["interpolation"],
        antialias=True,
    )
    return ImageEncoder(specs, resize, tower, runtime)


class LayerHooks:
    """Collects the outputs of named modules while forward_features runs; thread-safe."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        self.outputs = local()
        for name in names:
            model.get_submodule(name).register_forward_hook(partial(self._store, name))

    def __call__(self, model: Any, pixels: Tensor) -> dict[str, Any]:
        self.outputs.maps = {}
        last = model.forward_features(pixels)
        return {**self.outputs.maps, LAST: last}

    def _store(self, name: str, module: nn.Module, inputs: object, output: Any) -> None:
        from torch import Tensor

        # cloned, as the next module may work in place
        self.outputs.maps[name] = output.clone() if isinstance(output, Tensor) else output


def timm_stages(model: Any, preprocess: Mapping[str, Any]) -> list[Stage]:
    """The stages of a model on the meta device, from the last to the first. Raises ValueError where timm names none."""
    import torch

    named = [(str(info["module"]), int(info["num_chs"])) for info in getattr(model, "feature_info", [])]
    modules = dict(model.named_modules())
    named = [(module, width) for module, width in named if module in modules]
    pixels = torch.empty(1, *preprocess["input_size"], device="meta")
    maps = LayerHooks(model, [module for module, _ in named])(model, pixels)
    tokens = {name: _tokens(model, map).shape for name, map in maps.items() if isinstance(map, torch.Tensor)}
    last = tokens.pop(LAST)
    inner = [Stage(module, width) for module, width in named if module in tokens and tokens[module][-1] == width]
    if not inner:
        raise ValueError(f"timm names no layers of {type(model).__name__}; use the last, -1")
    if tokens[inner[-1].layer] == last:
        inner.pop()
    return [Stage(LAST, last[-1]), *reversed(inner)]


def build_meta_model(architecture: str) -> Any:
    """The model on the meta device, without memory for weights. Raises ValueError for an unknown name or tag."""
    import timm
    import torch

    if not timm.is_model(architecture.split(".")[0]):
        near = near_names(architecture, timm.list_models())
        raise ValueError(f"timm {timm.__version__} has no model {architecture!r}{near}")
    try:
        with torch.device("meta"):
            return timm.create_model(architecture, pretrained=False, num_classes=0).eval()
    except RuntimeError as error:
        raise ValueError(f"timm cannot build {architecture!r}: {first_line(error)}") from error


def timm_preprocess(model: Any) -> dict[str, object]:
    """The preprocessing that timm gives this model. Raises ValueError where it cannot be done on tensors."""
    from timm.data import resolve_model_data_config

    config: dict[str, Any] = resolve_model_data_config(model)
    channels, height, width = config["input_size"]
    resized = config["interpolation"] in ("bilinear", "bicubic", "nearest")
    cropped = config["crop_mode"] in ("center", "squash") and height == width
    if not (resized and cropped and channels == 3):
        raise ValueError(f"the preprocessing of this timm model is not supported: {config}; choose another model")
    return config


def timm_shape(model: Any, preprocess: Mapping[str, Any]) -> tuple[tuple[int, ...], bool]:
    """Shape (1, T, D) of the tokens, and whether the first is a class token. Raises ValueError for other outputs."""
    import torch

    features = model.forward_features(torch.empty(1, *preprocess["input_size"], device="meta"))
    if not isinstance(features, torch.Tensor) or features.ndim not in (3, 4):
        raise ValueError(f"{type(model).__name__} of timm does not end in one feature map or token sequence")
    classed = features.ndim == 3 and getattr(model, "cls_token", None) is not None
    return tuple(_tokens(model, features).shape), classed


def _tokens(model: Any, features: Tensor) -> Tensor:
    from .tower import flatten_map

    return flatten_map(features, channels_last=getattr(model, "output_fmt", "NCHW") == "NHWC")
