"""Hugging Face models that end in a few numbers with names: class logits, and similarities to given sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model_files.hub import config_digest, find_repo, tokenizer_digests
from ..spec import EncoderSpec, Modality
from .encoder import Encoder, EncoderOptions, Source
from .families import Family, read_config, read_whole_config
from .huggingface import (
    image_encoder,
    load_model,
    lowers,
    open_tokenizer,
    published_id,
    read_preprocess,
    read_state,
    text_encoder,
)
from .runtime import Runtime
from .variants import Stage, make_specs, safe_base_name

if TYPE_CHECKING:
    from torch import Tensor

TASKS = {"image": "ForImageClassification", "text": "ForSequenceClassification"}  # ends of names of classes


def open_named_numbers(name: str, modality: Modality, options: EncoderOptions) -> Source:
    """`NAME@logits`, the class logits of a classification checkpoint, or `NAME@prompts`, the cosine of a post's
    embedding with those of `options.sentences`, by a model of images and texts such as CLIP (Radford et al., 2021).

    The numbers are the vector and its only token; their names stand in the spec as `numbers`. Raises ValueError.
    """
    if len(options.pools) > 1 or set(options.layers) - {-1}:
        raise ValueError(f"{name}@{options.pools[0]} is one vector of the last layer; leave out --layers and --pool")
    (pool,) = options.pools
    repo = find_repo(name, local_files_only=options.local_files_only)
    config, family, _ = read_config(repo.folder, modality)
    whole, model_class = read_whole_config(repo.folder, TASKS[modality] if pool == "logits" else "")
    numbers = _labels(name, whole, family, modality) if pool == "logits" else _sentences(name, family, options)
    preprocess, length = read_preprocess(name, repo, config, family, modality, options)
    if pool == "prompts":
        preprocess["tokenizer"] = tokenizer_digests(repo.folder)
    specs = make_specs(
        options,
        name=f"{safe_base_name(repo.name)}@{pool}",
        modality=modality,
        source="transformers",
        architecture=f"{model_class.__name__}:{config_digest(repo.folder)}",
        weights=published_id(repo, options),
        preprocess=preprocess | {"numbers": numbers},
        stages=[Stage(pool, len(numbers))],
        pools=(pool,),
        max_length=length,
    )

    def load(runtime: Runtime) -> Encoder:
        files = [options.weights] if options.weights else repo.weight_files()
        model = load_model(model_class, whole, read_state(files))
        features = _logits if pool == "logits" else _similarities(model, repo.folder, numbers, specs)
        return (image_encoder if modality == "image" else text_encoder)(specs, repo.folder, model, features, runtime)

    return Source(specs, load)


def _labels(name: str, config: Any, family: Family, modality: Modality) -> list[str]:
    built = config.architectures or []
    if family.tower or not any(one.endswith(TASKS[modality]) for one in built):
        raise ValueError(
            f"{name!r} has no {modality} classes: its config names {', '.join(built) or 'no architecture'}; take a "
            f"checkpoint …{TASKS[modality]}, or leave out @logits"
        )
    return [str(config.id2label[number]) for number in range(config.num_labels)]


def _sentences(name: str, family: Family, options: EncoderOptions) -> list[str]:
    if family.tower is None:
        raise ValueError(
            f"{name!r} does not embed images and texts together; take one that does, as CLIP, for @prompts"
        )
    if not options.sentences:
        raise ValueError(f"{name}@prompts needs sentences: --sentence 'a happy photo' --sentence 'a sad photo'")
    return list(options.sentences)


def _logits(model: Any, **inputs: Tensor | None) -> tuple[list[Tensor], Tensor]:
    found: Tensor = model(**{key: value for key, value in inputs.items() if value is not None}).logits
    return [found.unsqueeze(1)], found


def _similarities(
    model: Any, folder: Path, sentences: Sequence[str], specs: Sequence[EncoderSpec]
) -> Callable[..., tuple[list[Tensor], Tensor]]:
    """The features of a model whose sentences (K, D) are embedded now, and kept with it as a buffer."""
    import torch
    from torch.nn.functional import normalize

    config, family, _ = read_config(folder, "text")
    tokenizer, limit = open_tokenizer(folder), config.max_position_embeddings
    padding = "max_length" if family.padded else False
    rows = []
    for sentence in sentences:
        text = sentence.lower() if lowers(family, folder) else sentence
        inputs = tokenizer(text, truncation=True, max_length=limit, padding=padding, return_tensors="pt")
        if family.padded:
            inputs.pop("attention_mask", None)
        with torch.inference_mode():
            rows.append(model.get_text_features(**inputs).pooler_output)
    model.register_buffer("sentences", normalize(torch.cat(rows)).clone(), persistent=False)

    def features(own: Any, **inputs: Tensor | None) -> tuple[list[Tensor], Tensor]:
        run = own.get_image_features if "pixel_values" in inputs else own.get_text_features
        vectors = run(**{key: value for key, value in inputs.items() if value is not None}).pooler_output
        found = normalize(vectors.float()) @ own.sentences.T
        return [found.unsqueeze(1)], found

    return features
