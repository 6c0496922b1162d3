"""The Hugging Face model types that can be read, and what their configs do not say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .encoders import Modality, near_names

SEQUENCE = ("mean", "cls", "max", "last")


@dataclass(frozen=True)
class Family:
    """What the config does not say about a model type. The first of `pools` is its default."""

    pools: tuple[str, ...]
    tower: tuple[str, str] | None = None  # model class and part of the config, where two models share a file
    offset: bool = False  # positions are counted from the padding id, as RoBERTa does
    padded: bool = False  # always padded to its full length and unmasked, as SigLIP was trained


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
    ("gpt2", "text"): Family(SEQUENCE),
    ("modernbert", "text"): Family(SEQUENCE),
    ("mpnet", "text"): Family((*SEQUENCE, "pooler"), offset=True),
    ("roberta", "text"): Family((*SEQUENCE, "pooler"), offset=True),
    ("siglip", "text"): Family(("pooler", *SEQUENCE), tower=("SiglipTextModel", "text_config"), padded=True),
    ("xlm-roberta", "text"): Family((*SEQUENCE, "pooler"), offset=True),
    ("beit", "image"): Family(("pooler",)),
    ("clip", "image"): Family(("pooler",), tower=("CLIPVisionModel", "vision_config")),
    ("clip_vision_model", "image"): Family(("pooler",)),
    ("convnext", "image"): Family(("mean",)),
    ("convnextv2", "image"): Family(("mean",)),
    ("deit", "image"): Family(("cls",)),
    ("dinov2", "image"): Family(("cls",)),
    ("dinov2_with_registers", "image"): Family(("cls",)),
    ("resnet", "image"): Family(("mean",)),
    ("siglip", "image"): Family(("pooler",), tower=("SiglipVisionModel", "vision_config")),
    ("siglip_vision_model", "image"): Family(("pooler",)),
    ("swin", "image"): Family(("mean",)),
    ("vit", "image"): Family(("cls",)),
}


def read_config(folder: Path, modality: Modality) -> tuple[Any, Family, Any]:
    """The config of the tower that serves the modality, its family, and its model class. Raises ValueError."""
    import transformers
    from huggingface_hub.errors import StrictDataclassError
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    try:
        kind = str(json.loads((folder / "config.json").read_text("utf-8")).get("model_type"))
        family = _find_family(kind, modality)
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (json.JSONDecodeError, OSError, KeyError, StrictDataclassError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{str(folder / 'config.json')!r} cannot be read by transformers: {reason}") from error
    if family.tower is None:
        return config, family, MODEL_MAPPING[type(config)]
    return getattr(config, family.tower[1]), family, getattr(transformers, family.tower[0])


def _find_family(kind: str, modality: Modality) -> Family:
    if (kind, modality) in FAMILIES:
        return FAMILIES[kind, modality]
    served = [other for (known, other) in FAMILIES if known == kind]
    if served:
        raise ValueError(f"a {kind!r} model serves {served[0]}, not {modality}; pass it as --{served[0]}")
    types = sorted({known for known, other in FAMILIES if other == modality})
    near = near_names(kind, types)
    raise ValueError(f"model type {kind!r} is not supported as {modality}{near}; known: {', '.join(types)}")
