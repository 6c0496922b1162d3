"""Hugging Face image and text encoders, from the hub's cache or a local folder; no remote code."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spec import EncoderSpec, Modality
from ..store.json_files import malformed, read_object
from .encoder import Encoder, EncoderOptions, Source, choose_length
from .families import Family, find_stages, read_config
from .hub import Repo, config_digest, fetch_hub, find_repo, tokenizer_digests, tokenizer_settings
from .runtime import Runtime
from .variants import Stage, layer_names, make_specs, only_last_layer, safe_base_name
from .weights import MODEL_FILE, load_state, refuse_keys, weights_id
from .word_pieces import Splitter, tokenizer_splitter

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_LIMIT = 256  # word pieces; a post is far shorter
UNUSED_PARTS = (  # of a checkpoint: heads of tasks and of pre-training, and the other tower
    *("classifier.", "cls.", "cls_classifier.", "distillation_classifier.", "fc.", "head.", "heads.", "lm_head."),
    *("pre_classifier.", "predictions.", "qa_outputs.", "score.", "sop_classifier.", "vocab_", "decoder."),
    *("discriminator_predictions.", "generator_", "mask_predictions.", "lm_predictions.", "pooler."),
    *("logit_", "text_model.", "text_projection.", "vision_model.", "visual_projection."),
)
POOLINGS = {  # names in sentence-transformers, now and in earlier versions -> ours
    **{"cls": "cls", "lasttoken": "last", "max": "max", "mean": "mean"},
    **{"pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"},
    **{"pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean"},
}
PRETRAINING = "mask_token"  # learned for masked pre-training only


def open_huggingface(name: str, modality: Modality, options: EncoderOptions) -> Source:
    """A hub id or a local folder with config.json; the modality picks CLIP's tower. Raises ValueError.

    Layer -1 is the last hidden state as the model defines it, after its final layer norm where it has one; -2, -3, …
    are hidden_states[-2], … of transformers, before that norm. The default pooling is the one that the files of
    sentence-transformers name; a dense layer or a norm after it is left out.
    """
    repo = find_repo(name, options)
    config, family, model_class = read_config(repo.folder, modality)
    if options.weights:
        weights = weights_id([options.weights])
    elif repo.revision:
        weights = f"revision:{repo.revision}"
        if options.local_files_only:
            repo.weight_files()
    else:
        weights = weights_id(repo.weight_files())
    length: int | None = None
    pools = family.pools
    if modality == "image":
        preprocess = _image_processor(repo.folder).to_dict()
    else:
        limit = _length_limit(config, family, repo.folder)
        asked = min(limit, DEFAULT_LIMIT) if options.max_length is None else options.max_length
        length = choose_length(name, asked, limit=limit)
        preprocess = {"tokenizer": _tokenizer(name, repo), "truncation": "right", "max_length": length}
        own = _own_pool(repo, pools, asked=bool(options.pools))
        pools = tuple(dict.fromkeys([own, *pools]))
    width = int(config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size)
    last = [Stage("last_hidden_state", width)]
    specs = make_specs(
        options,
        name=safe_base_name(repo.name),
        modality=modality,
        source="transformers",
        architecture=f"{model_class.__name__}:{config_digest(repo.folder)}",
        weights=weights,
        preprocess=preprocess,
        stages=last if only_last_layer(options) else find_stages(config, model_class, modality),
        pools=pools,
        max_length=length,
    )

    def load(runtime: Runtime) -> Encoder:
        files = [options.weights] if options.weights else repo.weight_files()
        return (load_image if modality == "image" else load_text)(specs, repo.folder, files, runtime)

    def words() -> Splitter:
        from .text_encoder import shorten

        return tokenizer_splitter(
            _load_tokenizer(repo.folder), length, partial(shorten, pieces=length or DEFAULT_LIMIT)
        )

    return Source(specs, load, words if modality == "text" else None)


def load_text(specs: Sequence[EncoderSpec], folder: Path, files: Sequence[Path], runtime: Runtime) -> Encoder:
    """Load a text model with the state dict of `files`. Raises ValueError."""
    import torch

    from .text_encoder import TextEncoder
    from .tower import Backbone, TextTower, run_transformer

    config, family, _ = read_config(folder, "text")
    tokenizer = _load_tokenizer(folder)
    layers = layer_names(specs)

    def features(model: Any, ids: Tensor, kinds: Tensor | None, mask: Tensor | None) -> tuple[list[Tensor], Any]:
        if mask is None and family.masked:
            mask = torch.ones_like(ids)
        attended = None if mask is None else mask.long()
        return run_transformer(model, layers, input_ids=ids, token_type_ids=kinds, attention_mask=attended)

    backbone = Backbone(_load_model(specs, folder, files), features)
    pad_to = config.max_position_embeddings if family.padded else None
    return TextEncoder(specs, tokenizer, TextTower(backbone, specs, unmasked=family.padded), runtime, pad_to=pad_to)


def load_image(specs: Sequence[EncoderSpec], folder: Path, files: Sequence[Path], runtime: Runtime) -> Encoder:
    """Load an image model with the state dict of `files`. Raises ValueError."""
    from .image_encoder import ImageEncoder, split_processor
    from .tower import Backbone, ImageTower, run_transformer

    resize, normal = split_processor(_image_processor(folder))
    config, family, _ = read_config(folder, "image")
    prefix = family.prefix + getattr(config, "num_register_tokens", 0)
    layers = layer_names(specs)
    backbone = Backbone(
        _load_model(specs, folder, files), lambda model, pixels: run_transformer(model, layers, pixel_values=pixels)
    )
    tower = ImageTower(backbone, specs, prefix=prefix, **normal)
    return ImageEncoder(specs, resize, tower, runtime)


def _tokenizer(name: str, repo: Repo) -> dict[str, str]:
    """What determines the word pieces of a text: digests, and the version of emoji where the tokenizer uses it."""
    found = tokenizer_digests(repo.folder)
    if _normalization(repo.folder):
        if importlib.util.find_spec("emoji") is None:  # the tokenizer would drop emoji
            raise ValueError(f"{name!r} needs the package emoji, as in its training: pip install emoji")
        found["normalization"] = f"emoji {metadata.version('emoji')}"
    return found


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    extra = {"normalization": True} if _normalization(folder) else {}
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **extra)


def _own_pool(repo: Repo, pools: Sequence[str], *, asked: bool) -> str:
    """The pooling that sentence-transformers wrote beside the model, else the family's.

    Raises ValueError for one that does not exist here, unless the user chose another (`asked`).
    """
    listing = repo.folder / "modules.json"
    with malformed(listing, *MODEL_FILE):
        modules = json.loads(listing.read_text("utf-8")) if listing.exists() else []
        inside = next((module["path"] for module in modules if module["type"].endswith("Pooling")), None)
    if inside is None or not re.fullmatch(r"[\w.-]+", inside):
        return pools[0]
    file = repo.folder / inside / "config.json"
    if not file.exists() and repo.revision:
        file = fetch_hub(repo.name, f"{inside}/config.json", local_files_only=repo.local_files_only)
    settings = read_object(file, *MODEL_FILE)
    mode = settings.get("pooling_mode")
    mode = mode or [key for key, on in settings.items() if key.startswith("pooling_mode_") and on]
    modes = [mode] if isinstance(mode, str) else mode
    own = POOLINGS.get(modes[0], modes[0]) if len(modes) == 1 else "+".join(modes)
    if own in pools:
        return own
    if asked:
        return pools[0]
    raise ValueError(f"{repo.name!r} pools by {own!r}, which does not exist here; choose --pool {' or '.join(pools)}")


def _normalization(folder: Path) -> bool:
    """Whether this is BERTweet's tokenizer with its normalization of users, links and emoji, as in its training."""
    settings = tokenizer_settings(folder)
    config = read_object(folder / "config.json", *MODEL_FILE)
    kind = str(settings.get("tokenizer_class") or config.get("tokenizer_class"))
    return kind.startswith("Bertweet") and bool(settings.get("normalization", True))


def _length_limit(config: Any, family: Family, folder: Path) -> int:
    positions = config.max_position_embeddings - (config.pad_token_id + 1 if family.offset else 0)
    own = tokenizer_settings(folder).get("model_max_length")
    return int(min(positions, own)) if isinstance(own, (int, float)) else int(positions)


def _image_processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(
            folder, backend="torchvision", local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{str(folder)!r} has no image processor that runs on torchvision; "
            "save one there with image_processor.save_pretrained"
        ) from error


def _load_model(specs: Sequence[EncoderSpec], folder: Path, files: Sequence[Path]) -> Any:
    """The model in fp32 with exactly the weights of `files`. Raises ValueError."""
    import torch

    config, _, model_class = read_config(folder, specs[0].modality)
    config.use_cache = False  # keys and values would be kept for a next word
    state = {key: value for file in files for key, value in load_state(file).items()}
    with _quiet():
        model, found = model_class.from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # refused below, by name
            output_loading_info=True,
        )
    spare = (PRETRAINING,) if any(spec.pool == "pooler" for spec in specs) else (PRETRAINING, "pooler.")
    refuse_keys(
        missing=(key for key in found["missing_keys"] if not any(part in key for part in spare)),
        left_over=(k for k in found["unexpected_keys"] if not k.startswith(UNUSED_PARTS) and PRETRAINING not in k),
        wrong_shape=(f"{key} {tuple(got)} for {tuple(own)}" for key, got, own in found["mismatched_keys"]),
    )
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers while it loads; what it would report is checked and raised here instead."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
