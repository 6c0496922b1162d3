"""Hugging Face image and text encoders, from the hub's cache or a local folder; no remote code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from .encoders import (
    Encoded,
    EncoderOptions,
    EncoderSpec,
    Modality,
    Source,
    canonical,
    choose_pool,
    inference,
    pool_tokens,
)
from .families import Family, read_config
from .hub import config_digest, find_repo, tokenizer_digests, tokenizer_settings
from .vision import ImageEncoder, flatten_map, freeze
from .weights import load_state, refuse_keys, weights_id

if TYPE_CHECKING:
    from torch import Tensor

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
UNUSED = ("mask_token",)  # learned for masked pre-training only


class TextEncoder:
    """A loaded text model: cleaned text -> word pieces -> one token vector each, and a pooled one."""

    def __init__(self, spec: EncoderSpec, tokenizer: Any, model: Any, device: str, *, pad_to: int | None) -> None:
        self.spec = spec
        self.tokenizer = tokenizer
        self.model = model
        self.device = device
        self.pad_to = pad_to  # fixed length, without a mask; None pads to the longest of the batch, masked
        self.pad_id = tokenizer.pad_token_id or 0
        self.lock = Lock()  # a fast tokenizer may not be called by two threads at once

    def preprocess(self, item: str) -> dict[str, list[int]]:
        """Ids of the text's word pieces, special ones included, cut to the max length."""
        with self.lock:
            pieces = self.tokenizer(item, truncation=True, max_length=self.spec.max_length, padding=False)
        return {key: pieces[key] for key in ("input_ids", "token_type_ids") if key in pieces}

    def length(self, prepared: Mapping[str, list[int]]) -> int:
        """Number of word pieces."""
        return len(prepared["input_ids"])

    def encode(self, batch: Sequence[Mapping[str, list[int]]]) -> Encoded:
        import torch

        lengths = [self.length(item) for item in batch]
        width = self.pad_to or max(lengths)
        inputs = {
            key: torch.tensor([item[key] + [fill] * (width - n) for item, n in zip(batch, lengths, strict=True)])
            for key, fill in (("input_ids", self.pad_id), ("token_type_ids", 0))
            if key in batch[0]
        }
        mask = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)  # (B, T)
        if self.pad_to is None:
            inputs["attention_mask"] = mask.long()
        with inference(self.device, self.spec.dtype):
            output = self.model(**{key: value.to(self.device) for key, value in inputs.items()})
        tokens = output.last_hidden_state.float()  # (B, T, D)
        pooled = (
            output.pooler_output.float()
            if self.spec.pool == "pooler"
            else pool_tokens(tokens, mask.to(self.device), self.spec.pool)
        )
        real = [item[:n] for item, n in zip(tokens.cpu().numpy(), lengths, strict=True)]
        return Encoded(pooled.cpu().numpy(), real)


def open_huggingface(name: str, modality: Modality, options: EncoderOptions) -> Source:
    """A hub id or a local folder with config.json; the modality picks CLIP's tower. Raises ValueError."""
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
    if modality == "image":
        preprocess = canonical(_image_processor(repo.folder).to_dict())
    else:
        length = choose_length(name, options.max_length, _length_limit(config, family, repo.folder))
        preprocess = canonical(
            {"tokenizer": tokenizer_digests(repo.folder), "truncation": "right", "max_length": length}
        )
    spec = EncoderSpec(
        name=repo.name,
        modality=modality,
        source="transformers",
        architecture=f"{model_class.__name__}:{config_digest(repo.folder)}",
        weights=weights,
        layer="last_hidden_state",
        pool=choose_pool(name, options.pool, family.pools),
        preprocess=preprocess,
        width=int(config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size),
        dtype=options.dtype,
        clean=options.clean,
        max_length=length,
    )

    def load(device: str) -> ImageEncoder | TextEncoder:
        files = [options.weights] if options.weights else repo.weight_files()
        return (load_image if modality == "image" else load_text)(spec, repo.folder, files, device)

    return Source(spec, load)


def load_text(spec: EncoderSpec, folder: Path, files: Sequence[Path], device: str) -> TextEncoder:
    """Load a text model with the state dict of `files` onto a device. Raises ValueError."""
    from transformers import AutoTokenizer

    config, family, _ = read_config(folder, "text")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    pad_to = config.max_position_embeddings if family.padded else None
    return TextEncoder(spec, tokenizer, _load_model(spec, folder, files, device), device, pad_to=pad_to)


def load_image(spec: EncoderSpec, folder: Path, files: Sequence[Path], device: str) -> ImageEncoder:
    """Load an image model with the state dict of `files` onto a device. Raises ValueError."""
    processor = _image_processor(folder)
    model = _load_model(spec, folder, files, device)

    def transform(image: Tensor) -> Tensor:
        pixels: Tensor = processor(image, return_tensors="pt", input_data_format="channels_first")["pixel_values"]
        return pixels[0]

    def forward(pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        output = model(pixel_values=pixels)
        return flatten_map(output.last_hidden_state), output.pooler_output if spec.pool == "pooler" else None

    return ImageEncoder(spec, transform, forward, device)


def choose_length(name: str, asked: int | None, limit: int) -> int:
    """Word pieces kept of a text, special ones included. Raises ValueError beyond what the model can take."""
    if asked is None:
        return min(limit, DEFAULT_LIMIT)
    if not 2 < asked <= limit:  # start and end alone take two
        raise ValueError(f"max length of {name!r} must be 3 to {limit}; got {asked}")
    return asked


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


def _load_model(spec: EncoderSpec, folder: Path, files: Sequence[Path], device: str) -> Any:
    """The model in fp32 with exactly the weights of `files`, frozen on the device. Raises ValueError."""
    import torch

    config, _, model_class = read_config(folder, spec.modality)
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
    spare = UNUSED if spec.pool == "pooler" else (*UNUSED, "pooler.")
    refuse_keys(
        missing=(key for key in found["missing_keys"] if not any(part in key for part in spare)),
        left_over=(key for key in found["unexpected_keys"] if not key.startswith(HEADS) and UNUSED[0] not in key),
        wrong_shape=(f"{key} {tuple(got)} for {tuple(own)}" for key, got, own in found["mismatched_keys"]),
    )
    return freeze(model, device)


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
