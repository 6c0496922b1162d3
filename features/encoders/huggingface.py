"""Hugging Face image and text encoders, from the hub's cache or a local folder; no remote code."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model_files.hub import Repo, config_digest, fetch_hub, find_repo, tokenizer_digests, tokenizer_settings
from ..model_files.weights import MODEL_FILE, load_state, quiet_transformers, refuse_keys, weights_id
from ..regular_files import regular
from ..spec import EncoderSpec, Modality
from ..store.json_files import MALFORMED, malformed, read_object
from ..words.word_pieces import Splitter, after_prompt, tokenizer_splitter
from .encoder import Encoder, EncoderOptions, Source, choose_length
from .families import Family, choose_prompt, find_stages, read_by_transformers, read_config
from .runtime import Runtime
from .variants import Stage, layer_names, make_specs, only_last_layer, safe_base_name

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
Features = Callable[..., "tuple[list[Tensor], Any]"]  # tokens (B, T, D) of each layer, and the model's own vector
PRETRAINING = "mask_token"  # learned for masked pre-training only
SPARE_NUMBERS, SPARE_NAMES = 1 << 24, 1000  # of a model that its files may lack, or hold in excess


def open_huggingface(name: str, modality: Modality, options: EncoderOptions) -> Source:
    """A hub id, `modelscope:ID` or a local folder with config.json; the modality picks CLIP's tower. Raises ValueError.

    Layer -1 is the last hidden state as the model defines it, after its final layer norm where it has one; -2, -3, …
    are hidden_states[-2], … of transformers, before that norm. The default pooling is the one that the files of
    sentence-transformers name; a dense layer or a norm after it is left out.
    """
    repo = find_repo(name, local_files_only=options.local_files_only)
    config, family, model_class = read_config(repo.folder, modality)
    preprocess, length = read_preprocess(name, repo, config, family, modality, options)
    pools = family.pools
    if modality == "text":
        pools = tuple(dict.fromkeys([_own_pool(repo, pools, asked=bool(options.pools)), *pools]))
    width = int(config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size)
    last = [Stage("last_hidden_state", width)]
    specs = make_specs(
        options,
        name=safe_base_name(repo.name),
        modality=modality,
        source="transformers",
        architecture=f"{model_class.__name__}:{config_digest(repo.folder)}",
        weights=published_id(repo, options),
        preprocess=preprocess,
        stages=last if only_last_layer(options) else find_stages(config, model_class, modality),
        pools=pools,
        max_length=length,
    )

    def load(runtime: Runtime) -> Encoder:
        files = [options.weights] if options.weights else repo.weight_files()
        return (load_image if modality == "image" else load_text)(specs, repo.folder, files, runtime)

    def words() -> Splitter:
        assert length is not None
        return after_prompt(tokenizer_splitter(open_tokenizer(repo.folder), length), specs[0].preprocess)

    return Source(specs, load, words if modality == "text" else None)


def published_id(repo: Repo, options: EncoderOptions) -> str:
    """`weights` of the spec of a model: a digest of its files, wherever they came from. Raises ValueError."""
    return weights_id([options.weights] if options.weights else repo.weight_files())


def read_preprocess(
    name: str, repo: Repo, config: Any, family: Family, modality: Modality, options: EncoderOptions
) -> tuple[dict[str, object], int | None]:
    """The preprocessing of a model's inputs, and the word pieces kept of a text. Raises ValueError."""
    if modality == "image":
        return dict(_image_processor(repo.folder).to_dict()), None
    limit = _length_limit(config, family, repo.folder)
    asked = min(limit, DEFAULT_LIMIT) if options.max_length is None else options.max_length
    length = choose_length(name, asked, limit=limit)
    preprocess = {"tokenizer": _tokenizer_id(name, repo), "truncation": "right", "max_length": length}
    preprocess |= {"lower": True} if lowers(family, repo.folder) else {}
    prompt = choose_prompt(repo.name, repo.folder, options.prompt)
    return preprocess | ({"prompt": prompt} if prompt else {}), length


def load_text(specs: Sequence[EncoderSpec], folder: Path, files: Sequence[Path], runtime: Runtime) -> Encoder:
    """Load a text model with the state dict of `files`. Raises ValueError."""
    return text_encoder(specs, folder, *_load_transformer(specs, folder, files, "text"), runtime)


def load_image(specs: Sequence[EncoderSpec], folder: Path, files: Sequence[Path], runtime: Runtime) -> Encoder:
    """Load an image model with the state dict of `files`. Raises ValueError."""
    return image_encoder(specs, folder, *_load_transformer(specs, folder, files, "image"), runtime)


def _load_transformer(
    specs: Sequence[EncoderSpec], folder: Path, files: Sequence[Path], modality: Modality
) -> tuple[Any, Features]:
    """A model with the state dict of `files`, and how its layers are read."""
    from .tower import run_transformer

    config, family, model_class = read_config(folder, modality)
    spare = () if any(spec.pool == "pooler" for spec in specs) else ("pooler.",)
    model = load_model(model_class, config, read_state(files, family), spare=spare)
    return model, partial(run_transformer, layers=layer_names(specs))


def text_encoder(
    specs: Sequence[EncoderSpec], folder: Path, model: Any, features: Features, runtime: Runtime
) -> Encoder:
    """An encoder of a loaded text model; `features` takes it with input_ids, token_type_ids and attention_mask."""
    import torch

    from .text_encoder import TextEncoder
    from .tower import Backbone, TextTower

    config, family, _ = read_config(folder, "text")

    def run(own: Any, ids: Tensor, kinds: Tensor | None, mask: Tensor | None) -> tuple[list[Tensor], Any]:
        if mask is None and family.masked:
            mask = torch.ones_like(ids)
        attended = None if mask is None else mask.long()
        return features(own, input_ids=ids, token_type_ids=kinds, attention_mask=attended)

    tower = TextTower(Backbone(model, run), specs, unmasked=family.padded)
    pad_to = config.max_position_embeddings if family.padded else None
    return TextEncoder(specs, open_tokenizer(folder), tower, runtime, pad_to=pad_to)


def image_encoder(
    specs: Sequence[EncoderSpec], folder: Path, model: Any, features: Features, runtime: Runtime
) -> Encoder:
    """An encoder of a loaded image model; `features` takes it with pixel_values."""
    from .image_encoder import ImageEncoder, split_processor
    from .tower import Backbone, ImageTower

    resize, normal = split_processor(_image_processor(folder))
    config, family, _ = read_config(folder, "image")
    backbone = Backbone(model, lambda own, pixels: features(own, pixel_values=pixels))
    prefix = family.prefix + getattr(config, "num_register_tokens", 0)
    return ImageEncoder(specs, resize, ImageTower(backbone, specs, prefix=prefix, **normal), runtime)


def open_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder; no code of the folder is run. Raises ValueError where it cannot be read."""
    from transformers import AutoTokenizer

    extra = {"normalization": True} if _normalization(folder) else {}
    with read_by_transformers(f"the tokenizer in {str(folder)!r}"):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **extra)


def _tokenizer_id(name: str, repo: Repo) -> dict[str, str]:
    """What determines the word pieces of a text: digests, and the version of emoji where the tokenizer uses it."""
    found = tokenizer_digests(repo.folder)
    if _normalization(repo.folder):
        if importlib.util.find_spec("emoji") is None:  # the tokenizer would drop emoji
            raise ValueError(f"{name!r} needs the package emoji, as in its training: pip install emoji")
        found["normalization"] = f"emoji {metadata.version('emoji')}"
    return found


def _own_pool(repo: Repo, pools: Sequence[str], *, asked: bool) -> str:
    """The pooling that sentence-transformers wrote beside the model, else the family's.

    Raises ValueError for one that does not exist here, unless the user chose another (`asked`).
    """
    listing = repo.folder / "modules.json"
    with malformed(listing, *MODEL_FILE):
        modules = json.loads(regular(listing).read_text("utf-8")) if listing.exists() else []
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


def lowers(family: Family, folder: Path) -> bool:
    """Whether texts are lower-cased first: Gemma's tokenizer ignores `do_lower_case`, as which SigLIP 2 was trained."""
    settings = tokenizer_settings(folder)
    gemma = str(settings.get("tokenizer_class")).startswith("Gemma")
    return family.lower or (gemma and bool(settings.get("do_lower_case")))


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
    except (*MALFORMED, OSError) as error:
        raise ValueError(
            f"{str(folder)!r} has no image processor that runs on torchvision; "
            "save one there with image_processor.save_pretrained"
        ) from error


def read_state(files: Sequence[Path], family: Family | None = None) -> dict[str, Tensor]:
    """The state dict of all files; of a family's tower, its part where the files hold both. Raises ValueError."""
    state = {key: value for file in files for key, value in load_state(file).items()}
    if family is None or family.tower is None:
        return state
    own = family.tower[1].replace("config", "model.")
    return {key.removeprefix(own): value for key, value in state.items() if key.startswith(own)} or state


def _refuse_larger(model_class: Any, config: Any, state: Mapping[str, Tensor]) -> None:
    """Raise ValueError where a config describes far more than the weights are: building that could take all memory."""
    import torch

    layers = max(getattr(config, "num_hidden_layers", 0), sum(getattr(config, "depths", ())))
    if layers > len(state):
        raise ValueError(f"it has {layers} layers, but there are weights of {len(state)} names")
    with torch.device("meta"):  # shapes alone
        blank = model_class(config)
    names, wanted = len(blank.state_dict()), sum(one.numel() for one in blank.parameters())
    found = sum(one.numel() for one in state.values())
    if wanted > 2 * found + SPARE_NUMBERS or len(state) > 4 * names + SPARE_NAMES:
        raise ValueError(f"it has {wanted} weights of {names} names, but the files hold {found} of {len(state)} names")


def load_model(model_class: Any, config: Any, state: dict[str, Tensor], *, spare: Sequence[str] = ()) -> Any:
    """The model in fp32 with exactly these weights, of which `spare` parts may be missing. Raises ValueError."""
    import torch

    config.use_cache = False  # keys and values would be kept for a next word
    with quiet_transformers(), read_by_transformers("the model of this config.json"):
        _refuse_larger(model_class, config, state)
        model, found = model_class.from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # refused below, by name
            output_loading_info=True,
        )
    spare = (PRETRAINING, *spare)
    refuse_keys(
        missing=(key for key in found["missing_keys"] if not any(part in key for part in spare)),
        left_over=(k for k in found["unexpected_keys"] if not k.startswith(UNUSED_PARTS) and PRETRAINING not in k),
        wrong_shape=(f"{key} {tuple(got)} for {tuple(own)}" for key, got, own in found["mismatched_keys"]),
    )
    return model
