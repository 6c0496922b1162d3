"""The supported model types of Hugging Face, and facts about them that their configs lack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..messages import first_line, near_names
from ..model_files.weights import MODEL_FILE
from ..spec import Modality
from ..store.json_files import MALFORMED, read_object
from .variants import Stage

SEQUENCE = ("mean", "cls", "max", "last")
PATCHES = ("mean", "max")
CLASSED = ("cls", *PATCHES)
OWN_ATTENTION = (None, "eager", "sdpa")  # implementations that are part of torch and transformers
FOREIGN = (
    *("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation"),
    "quantization_config",
)
MAX_LABELS = 1_000_000  # of which transformers makes names


CARD_PROMPTS = (  # prompts that the cards of models ask for, but their files do not make the default
    (re.compile(r"(multilingual-)?e5-(small|base|large)(-v2)?"), "query: "),
    (re.compile(r"embeddinggemma-.*"), "task: classification | query: "),
)


@dataclass(frozen=True)
class Family:
    """Facts about a model type that its config lacks. The first of `pools` is its default."""

    pools: tuple[str, ...]
    tower: tuple[str, str] | None = None  # model class and section of the config, where two models share a file
    offset: bool = False  # positions start after the padding id, as in RoBERTa
    padded: bool = False  # always padded to its full length and unmasked, as SigLIP was trained
    masked: bool = False  # needs a mask even where all tokens are real, or OpenVINO cannot read the model
    lower: bool = False  # texts are lower-cased, as in its training; its tokenizer leaves that to the user
    prefix: int = 0  # tokens of an image before its patches: class, distillation


FAMILIES: dict[tuple[str, Modality], Family] = {
    ("albert", "text"): Family((*SEQUENCE, "pooler")),
    ("bert", "text"): Family((*SEQUENCE, "pooler")),
    ("camembert", "text"): Family((*SEQUENCE, "pooler"), offset=True),
    ("chinese_clip", "text"): Family(("cls", "mean", "max", "last"), tower=("ChineseCLIPTextModel", "text_config")),
    ("clip", "text"): Family(("pooler", *SEQUENCE), tower=("CLIPTextModel", "text_config")),
    ("clip_text_model", "text"): Family(("pooler", *SEQUENCE)),
    ("deberta-v2", "text"): Family(SEQUENCE),
    ("distilbert", "text"): Family(SEQUENCE),
    ("electra", "text"): Family(SEQUENCE),
    ("ernie", "text"): Family((*SEQUENCE, "pooler")),
    ("gemma3_text", "text"): Family(SEQUENCE, masked=True),
    ("gpt2", "text"): Family(SEQUENCE, masked=True),
    ("modernbert", "text"): Family(SEQUENCE),
    ("mpnet", "text"): Family((*SEQUENCE, "pooler"), offset=True),
    ("qwen3", "text"): Family(("last", "mean", "max", "cls"), masked=True),
    ("roberta", "text"): Family((*SEQUENCE, "pooler"), offset=True),
    ("siglip", "text"): Family(("pooler", *SEQUENCE), tower=("SiglipTextModel", "text_config"), padded=True),
    ("siglip2", "text"): Family(
        ("pooler", *SEQUENCE), tower=("Siglip2TextModel", "text_config"), padded=True, lower=True
    ),
    ("xlm-roberta", "text"): Family((*SEQUENCE, "pooler"), offset=True),
    ("beit", "image"): Family(("pooler", *CLASSED), prefix=1),
    ("chinese_clip", "image"): Family(
        ("pooler", *CLASSED), tower=("ChineseCLIPVisionModel", "vision_config"), prefix=1
    ),
    ("clip", "image"): Family(("pooler", *CLASSED), tower=("CLIPVisionModel", "vision_config"), prefix=1),
    ("clip_vision_model", "image"): Family(("pooler", *CLASSED), prefix=1),
    ("convnext", "image"): Family((*PATCHES, "pooler")),
    ("convnextv2", "image"): Family((*PATCHES, "pooler")),
    ("deit", "image"): Family((*CLASSED, "pooler"), prefix=2),
    ("dinov2", "image"): Family((*CLASSED, "pooler"), prefix=1),
    ("dinov2_with_registers", "image"): Family((*CLASSED, "pooler"), prefix=1),
    ("dinov3_vit", "image"): Family((*CLASSED, "pooler"), prefix=1),
    ("resnet", "image"): Family(PATCHES),
    ("siglip", "image"): Family(("pooler", *PATCHES), tower=("SiglipVisionModel", "vision_config")),
    ("siglip_vision_model", "image"): Family(("pooler", *PATCHES)),
    ("swin", "image"): Family((*PATCHES, "pooler")),
    ("vit", "image"): Family((*CLASSED, "pooler"), prefix=1),
}


def read_config(folder: Path, modality: Modality) -> tuple[Any, Family, Any]:
    """The config of the tower that serves the modality, its family, and its model class. Raises ValueError."""
    import transformers

    family = _find_family(_model_type(folder), modality)
    config, model_class = read_whole_config(folder)
    if family.tower is None:
        return config, family, model_class
    return getattr(config, family.tower[1]), family, getattr(transformers, family.tower[0])


def read_whole_config(folder: Path, task: str = "") -> tuple[Any, Any]:
    """The config of a model, and its class, for a `task` such as ForImageClassification the one of that name.

    The class is None where the model has none for the task. Raises ValueError.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    mappings = {
        "": modeling_auto.MODEL_MAPPING,
        "ForImageClassification": modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
        "ForSequenceClassification": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    }
    _refuse_foreign(folder / "config.json")
    with read_by_transformers(f"{str(folder / 'config.json')!r}"):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return config, mappings[task].get(type(config), None)


@contextmanager
def read_by_transformers(what: str) -> Iterator[None]:
    """Inside, whatever a file of a model that lies makes go wrong is a ValueError in one line."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (*MALFORMED, AssertionError, MemoryError, OSError, RuntimeError, StrictDataclassError) as error:
        reason = first_line(error).removesuffix(":")
        raise ValueError(f"{what} cannot be read by transformers: {reason}; download the model again") from error


def _refuse_foreign(file: Path) -> None:
    """Raise ValueError for a config that asks for kernels, which are programs of the hub, or for packed weights."""
    config = read_object(file, *MODEL_FILE)
    for part in (config, *(one for one in config.values() if isinstance(one, dict))):
        for name in FOREIGN:
            if part.get(name) not in OWN_ATTENTION:
                raise ValueError(f"{str(file)!r} asks for {name} {str(part[name])[:80]!r}; remove that entry from it")
        labels = part.get("num_labels")
        if isinstance(labels, int) and labels > MAX_LABELS:
            raise ValueError(f"{str(file)!r} has {labels} labels, at most {MAX_LABELS} are read; correct that entry")


def _model_type(folder: Path) -> str:
    return str(read_object(folder / "config.json", *MODEL_FILE, model_type=str)["model_type"])


def choose_prompt(name: str, folder: Path, asked: str | None) -> str:
    """The words before each text: `asked`, which may name one of the model's prompts; None: the model's own, if any.

    The names are those in the files of Sentence Transformers. Raises ValueError for a word that is none of them, as the
    words of a prompt end in a space.
    """
    file = folder / "config_sentence_transformers.json"
    settings = read_object(file, *MODEL_FILE) if file.exists() else {}
    named = dict(settings.get("prompts") or {})
    if asked is None:
        short = name.rpartition("/")[2]
        card = next((prompt for pattern, prompt in CARD_PROMPTS if pattern.fullmatch(short)), "")
        return str(named.get(settings.get("default_prompt_name")) or card)
    if re.fullmatch(r"[\w-]+", asked) and asked not in named:
        known = f"it has {', '.join(sorted(named))}" if named else "it names none"
        raise ValueError(
            f"{name!r} has no prompt {asked!r}, {known}; end the words of a prompt by a space: '{asked}: '"
        )
    return str(named.get(asked, asked))


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
