"""Hugging Face image and text encoders, from the hub's cache or a local folder; no remote code."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spec import EncoderSpec, Modality, canonical
from .encoder import Encoder, EncoderOptions, Source
from .families import Family, find_stages, read_config
from .hub import Repo, config_digest, fetch_hub, find_repo, tokenizer_digests, tokenizer_settings
from .variants import Stage, expand, layer_names, only_last_layer, safe_base_name
from .weights import load_state, refuse_keys, weights_id

if TYPE_CHECKING:
    from .runtime import Runtime

DEFAULT_LIMIT = 256  # word pieces; a post is far shorter
HEADS = (  # of tasks, of the other tower, and of pre-training: parts of a checkpoint that no encoder uses
    *(
        "classifier.",
        "cls.",
        "cls_classifier.",
        "distillation_classifier.",
        "fc.",
        "head.",
        "heads.",
        "lm_head.",
    ),
    *("pre_classifier.", "predictions.", "qa_outputs.", "score.", "sop_classifier.", "vocab_", "decoder."),
    *("discriminator_predictions.", "generator_", "mask_predictions.", "lm_predictions.", "pooler."),
    *("logit_", "text_model.", "text_projection.", "vision_model.", "visual_projection."),
)
POOLINGS = {  # of sentence-transformers, as it writes them now and as it once did
    **{"cls": "cls", "lasttoken": "last", "max": "max", "mean": "mean"},
    **{"pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"},
    **{"pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean"},
}
UNUSED = ("mask_token",)  # learned for masked pre-training only


def open_huggingface(name: str, modality: Modality, options: EncoderOptions) -> Source:
    """A hub id or a local folder with config.json; the modality picks CLIP's tower. Raises ValueError.

    Layer -1 is the last hidden state as the model defines it, after its final layer norm where it has one; -2, -3, …
    are what transformers calls hidden_states[-2], …, which no such norm has touched. The pooling that the files of
    sentence-transformers name is the model's own; a dense layer or a norm behind it is left out.
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
        preprocess = canonical(_image_processor(repo.folder).to_dict())
    else:
        length = choose_length(name, options.max_length, _length_limit(config, family, repo.folder))
        tokenizer = tokenizer_digests(repo.folder)
        if _normalization(repo.folder):
            tokenizer |= {"normalization": f"emoji {_emoji(name)}"}
        preprocess = canonical({"tokenizer": tokenizer, "truncation": "right", "max_length": length})
        own = _own_pool(repo, pools, asked=bool(options.pools))
        pools = (own, *(pool for pool in pools if pool != own))
    width = int(config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size)
    spec = EncoderSpec(
        name=safe_base_name(repo.name),
        modality=modality,
        source="transformers",
        architecture=f"{model_class.__name__}:{config_digest(repo.folder)}",
        weights=weights,
        layer="last_hidden_state",
        pool=pools[0],
        preprocess=preprocess,
        width=width,
        dtype=options.dtype,
        clean=options.clean,
        max_length=length,
    )

    stages = [Stage(spec.layer, width)] if only_last_layer(options) else find_stages(config, model_class, modality)
    specs = expand(spec, options, stages=stages, pools=pools)

    def load(runtime: Runtime) -> Encoder:
        files = [options.weights] if options.weights else repo.weight_files()
        return (load_image if modality == "image" else load_text)(specs, repo.folder, files, runtime)

    return Source(specs, load)


def load_text(specs: Sequence[EncoderSpec], folder: Path, files: Sequence[Path], runtime: Runtime) -> Encoder:
    """Load a text model with the state dict of `files`. Raises ValueError."""
    from transformers import AutoTokenizer

    from .text_encoder import HiddenStates, TextEncoder
    from .tower import TextTower

    config, family, _ = read_config(folder, "text")
    extra = {"normalization": True} if _normalization(folder) else {}
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **extra)
    backbone = HiddenStates(_load_model(specs, folder, files), layer_names(specs), masked=family.masked)
    pad_to = config.max_position_embeddings if family.padded else None
    return TextEncoder(specs, tokenizer, TextTower(backbone, specs, unmasked=family.padded), runtime, pad_to=pad_to)


def load_image(specs: Sequence[EncoderSpec], folder: Path, files: Sequence[Path], runtime: Runtime) -> Encoder:
    """Load an image model with the state dict of `files`. Raises ValueError."""
    from .image_encoder import ImageEncoder, PixelModel, split_processor
    from .tower import ImageTower

    resize, normal = split_processor(_image_processor(folder))
    config, family, _ = read_config(folder, "image")
    prefix = family.prefix + getattr(config, "num_register_tokens", 0)
    backbone = PixelModel(_load_model(specs, folder, files), layer_names(specs))
    tower = ImageTower(backbone, specs, prefix=prefix, **normal)
    return ImageEncoder(specs, resize, tower, runtime)


def choose_length(name: str, asked: int | None, limit: int) -> int:
    """Word pieces kept of a text, special ones included. Raises ValueError beyond what the model can take."""
    if asked is None:
        return min(limit, DEFAULT_LIMIT)
    if not 2 < asked <= limit:  # start and end alone take two
        raise ValueError(f"max length of {name!r} must be 3 to {limit}; got {asked}")
    return asked


def _own_pool(repo: Repo, pools: Sequence[str], *, asked: bool) -> str:
    """The pooling that sentence-transformers wrote beside the model, else the family's. Raises ValueError.

    One that does not exist here must be replaced by the user: `asked` says that this was done.
    """
    listing = repo.folder / "modules.json"
    modules = json.loads(listing.read_text("utf-8")) if listing.exists() else []
    inside = next((module["path"] for module in modules if module["type"].endswith("Pooling")), None)
    if inside is None or not re.fullmatch(r"[\w.-]+", inside):
        return pools[0]
    file = repo.folder / inside / "config.json"
    if not file.exists() and repo.revision:
        file = fetch_hub(repo.name, f"{inside}/config.json", local_files_only=repo.local_files_only)
    said = json.loads(file.read_text("utf-8"))
    mode = said.get("pooling_mode") or [key for key, on in said.items() if key.startswith("pooling_mode_") and on]
    modes = [mode] if isinstance(mode, str) else mode
    own = POOLINGS.get(modes[0], modes[0]) if len(modes) == 1 else "+".join(modes)
    if own in pools:
        return own
    if asked:
        return pools[0]
    raise ValueError(f"{repo.name!r} pools by {own!r}, which does not exist here; choose --pool {' or '.join(pools)}")


def _normalization(folder: Path) -> bool:
    """Whether this is BERTweet's tokenizer, made to spell users, links and emoji as in its training, which is optional.

    A folder may switch that off in so many words.
    """
    settings = tokenizer_settings(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    kind = str(settings.get("tokenizer_class") or config.get("tokenizer_class"))
    return kind.startswith("Bertweet") and bool(settings.get("normalization", True))


def _emoji(name: str) -> str:
    """The version of the package that spells emoji. Raises ValueError: without it, the tokenizer would drop them."""
    if importlib.util.find_spec("emoji") is None:
        raise ValueError(f"{name!r} needs emoji, to read emoji as it was trained to: pip install emoji")
    return metadata.version("emoji")


def _length_limit(config: Any, family: Family, folder: Path) -> int:
    positions = config.max_position_embeddings - (config.pad_token_id + 1 if family.offset else 0)
    said = tokenizer_settings(folder).get("model_max_length")
    return int(min(positions, said)) if isinstance(said, (int, float)) else int(positions)


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
    config.use_cache = False  # keys and values are kept for the next word, and there is none
    state = {key: value for file in files for key, value in load_state(file).items()}
    with _quiet():
        model, found = model_class.from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
    spare = UNUSED if any(spec.pool == "pooler" for spec in specs) else (*UNUSED, "pooler.")
    refuse_keys(
        missing=(key for key in found["missing_keys"] if not any(part in key for part in spare)),
        left_over=(key for key in found["unexpected_keys"] if not key.startswith(HEADS) and UNUSED[0] not in key),
        wrong_shape=(f"{key} {tuple(got)} for {tuple(own)}" for key, got, own in found["mismatched_keys"]),
    )
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers while it loads: what it would report is checked and raised here instead."""
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
