"""The supported model types of Hugging Face, and facts about them that their configs lack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..messages import near_names
from ..spec import Modality
from ..store.json_files import MALFORMED, read_object
from .variants import Stage
from .weights import MODEL_FILE

SEQUENCE = ("mean", "cls", "max", "last")
PATCHES = ("mean", "max")
CLASSED = ("cls", *PATCHES)


@dataclass(frozen=True)
class Family:
    """Facts about a model type that its config lacks. The first of `pools` is its default."""

    pools: tuple[str, ...]
    tower: tuple[str, str] | None = None  # model class and section of the config, where two models share a file
    offset: bool = False  # positions start after the padding id, as in RoBERTa
    padded: bool = False  # always padded to its full length and unmasked, as SigLIP was trained
    masked: bool = False  # needs a mask even where all tokens are real, or OpenVINO cannot read the model
    prefix: int = 0  # tokens of an image before its patches: class, distillation


FAMILIES: dict[tuple[str, Modality], Family] = {
    ("albert", "text"): Family((*SEQUENCE, "pooler")),
    ("bert", "text"): Family((*SEQUENCE, "pooler")),
    ("camembert", "text"): Family((*SEQUENCE, "pooler"), offset=True),
    ("clip", "text"): Family(("pooler", *SEQUENCE), tower=("CLIPTextModel", "text_config")),
    ("clip_text_model", "text"): Family(("pooler", *SEQUENCE)),
    ("deberta-v2", "text"): Family(SEQUENCE),
    ("distilbert", "text"): Family(SEQUENCE),
    ("electra", "text"): Family(SEQUENCE),
    ("ernie", "text"): Family((*SEQUENCE, "pooler")),
    ("gpt2", "text"): Family(SEQUENCE, masked=True),
    ("modernbert", "text"): Family(SEQUENCE),
    ("mpnet", "text"): Family((*SEQUENCE, "pooler"), offset=True),
    ("roberta", "text"): Family((*SEQUENCE, "pooler"), offset=True),
    ("siglip", "text"): Family(("pooler", *SEQUENCE), tower=("SiglipTextModel", "text_config"), padded=True),
    ("xlm-roberta", "text"): Family((*SEQUENCE, "pooler"), offset=True),
    ("beit", "image"): Family(("pooler", *CLASSED), prefix=1),
    ("clip", "image"): Family(("pooler", *CLASSED), tower=("CLIPVisionModel", "vision_config"), prefix=1),
    ("clip_vision_model", "image"): Family(("pooler", *CLASSED), prefix=1),
    ("convnext", "image"): Family((*PATCHES, "pooler")),
    ("convnextv2", "image"): Family((*PATCHES, "pooler")),
    ("deit", "image"): Family((*CLASSED, "pooler"), prefix=2),
    ("dinov2", "image"): Family((*CLASSED, "pooler"), prefix=1),
    ("dinov2_with_registers", "image"): Family((*CLASSED, "pooler"), prefix=1),
    ("resnet", "image"): Family(PATCHES),
    ("siglip", "image"): Family(("pooler", *PATCHES), tower=("SiglipVisionModel", "vision_config")),
    ("siglip_vision_model", "image"): Family(("pooler", *PATCHES)),
    ("swin", "image"): Family((*PATCHES, "pooler")),
    ("vit", "image"): Family((*CLASSED, "pooler"), prefix=1),
}


def read_config(folder: Path, modality: Modality) -> tuple[Any, Family, Any]:
    """The config of the tower that serves the modality, its family, and its model class. Raises ValueError."""
    import transformers
    from huggingface_hub.errors import StrictDataclassError
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    kind = read_object(folder / "config.json", *MODEL_FILE, model_type=str)["model_type"]
    family = _find_family(kind, modality)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (*MALFORMED, OSError, StrictDataclassError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{str(folder / 'config.json')!r} cannot be read by transformers: {reason}") from error
    if family.tower is None:
        return config, family, MODEL_MAPPING[type(config)]
    return getattr(config, family.tower[1]), family, getattr(transformers, family.tower[0])


def find_stages(config: Any, model_class: Any, modality: Modality) -> list[Stage]:
    """The hidden states of a model, from the last to the first, which is the output of its embeddings.

    The widths of an image model may differ from layer to layer: it is run on the meta device to find them.
    """
    if modality == "text":
        widths = [int(config.hidden_size)] * (config.num_hidden_layers + 1)
    else:
        import torch

        side = getattr(config, "image_size", 224)
        height, width = side if isinstance(side, list | tuple) else (side, side)
        with torch.device("meta"):
            model = model_class(config).eval()
            output = model(pixel_values=torch.empty(1, 3, height, width), output_hidden_states=True)
        widths = [int(state.shape[1] if state.ndim == 4 else state.shape[2]) for state in output.hidden_states]
    last, *before = reversed(widths)
    return [
        Stage("last_hidden_state", last),
        *(Stage(f"hidden_states[-{number}]", width) for number, width in enumerate(before, 2)),
    ]


def _find_family(kind: str, modality: Modality) -> Family:
    if (kind, modality) in FAMILIES:
        return FAMILIES[kind, modality]
    served = [other for (known, other) in FAMILIES if known == kind]
    if served:
        raise ValueError(f"a {kind!r} model serves {served[0]}, not {modality}; pass it as --{served[0]}")
    types = sorted({known for known, other in FAMILIES if other == modality})
    near = near_names(kind, types)
    raise ValueError(f"model type {kind!r} is not supported as {modality}; known: {', '.join(types)}{near}")
