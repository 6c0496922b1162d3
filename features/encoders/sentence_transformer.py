"""Models of Sentence Transformers, whole: with their dense layers, norms and prompts, for texts and images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from ..messages import first_line
from ..model_files.hub import Repo, find_whole_repo, whole_repo_id
from ..model_files.weights import quiet_transformers
from ..posts.text import clean_text
from ..spec import JOINT, BadItem, EncoderSpec, Modality, Reads
from ..words.word_pieces import is_cut
from .encoder import (
    Encoded,
    Encoder,
    EncoderOptions,
    Source,
    WholePost,
    choose_length,
    refuse_prompt,
    refuse_weights,
    require,
)
from .engine import open_tower_engine
from .families import choose_prompt
from .runtime import Runtime
from .variants import Stage, make_specs, safe_base_name

PREFIX = "st:"
BOTH = ("image", "text")
MEDIA = ("image", "video", "audio")
SIDE = 32  # pixels of a sample image
NO_LIMIT = 10**9  # word pieces; a tokenizer without a limit names more
SPECIAL = 4  # special pieces of a text at most
BYTES_PER_PIECE = 3  # of UTF-8: a Chinese character, most of an English word piece


def open_sentence_transformer(name: str, modality: Modality, options: EncoderOptions) -> Source:
    """`st:NAME`, a hub id or a folder that SentenceTransformer.save wrote; its vectors are those of its `encode`.

    With `options.joint` it embeds the image and the text of a post together. The model is loaded here already, as its
    files do not name its width. Raises ValueError for a model that does not embed this modality, or both together,
    another layer or another pooling than its own.
    """
    require("sentence_transformers", name, extra="st")
    refuse_weights(name, options)
    repo = find_whole_repo(name.removeprefix(PREFIX), local_files_only=options.local_files_only)
    model = _load(repo)
    if options.joint and not model.supports(BOTH):
        raise ValueError(f"{name!r}: this model takes no image and text together; leave @joint out")
    if not options.joint and modality not in model.modalities:
        if model.supports(BOTH):
            raise ValueError(f"{name!r} serves image and text together; pass it as --text {name}@{JOINT}")
        served = next((one for one in model.modalities if one in ("image", "text")), "neither image nor text")
        raise ValueError(f"{name!r} serves {served}, not {modality}; pass it as --{served}")
    length, prompt = None, ""
    if modality == "text":
        if (limit := model.max_seq_length) and not (options.joint and limit > NO_LIMIT):
            length = model.max_seq_length = choose_length(name, options.max_length, limit=limit)
        prompt = choose_prompt(repo.name, repo.folder, options.prompt)
    if options.joint and "message" not in model.modalities:
        refuse_prompt(name, options)
        prompt = ""  # the package leaves it out
    specs = make_specs(
        options,
        name=f"{PREFIX}{safe_base_name(repo.name)}",
        modality=modality,
        source="sentence-transformers",
        architecture="+".join(type(module).__name__ for module in model),
        weights=whole_repo_id(repo),
        preprocess={"max_length": length, "prompt": prompt} | ({JOINT: True} if options.joint else {}),
        stages=[Stage("sentence_embedding", _width(model, "post" if options.joint else modality))],
        pools=("own",),
        max_length=length,
    )
    return Source(specs, lambda runtime: SentenceEncoder(specs, model, runtime, prompt=prompt))


class SentenceTower(nn.Module):
    """All modules of a model. Output: its vector (B, D) and, of a text, its token vectors (B, T, D)."""

    def __init__(self, model: Any, features: Mapping[str, Any]) -> None:
        """`features` are those of a sample; the tensors among them are the inputs, in this order."""
        super().__init__()
        self.model = model
        self.names = tuple(name for name, value in features.items() if isinstance(value, Tensor))
        self.constants = {name: value for name, value in features.items() if name not in self.names}

    def forward(self, *values: Tensor) -> list[Tensor]:
        """The inputs `names`, in order: pooled vectors (B, D) and, if they are as wide, tokens (B, T, D)."""
        output = self.model(self.constants | dict(zip(self.names, values, strict=True)))
        pooled = output["sentence_embedding"].float()[:, : self.model.truncate_dim]
        tokens = output.get("token_embeddings")
        return [pooled] if tokens is None or tokens.shape[-1] != pooled.shape[-1] else [pooled, tokens]


class SentenceEncoder(Encoder):
    """Cleaned text, uint8 RGB tensor (3, H, W), or WholePost -> the model's vector and, of a text, its token vectors.

    Otherwise the vector is the only token.
    """

    def __init__(self, specs: Sequence[EncoderSpec], model: Any, runtime: Runtime, *, prompt: str) -> None:
        self.specs = tuple(specs)
        self.model, self.prompt = model, prompt
        self.lock = Lock()  # a fast tokenizer is not thread-safe
        self.joint = specs[0].reads == "post"
        processor = getattr(model[0], "processor", None)
        self.marks = [mark for kind in MEDIA if (mark := getattr(processor, f"{kind}_token", None))]
        self.tower = SentenceTower(model, self._features([_sample(specs[0].reads)]))
        if self.joint:  # many models take the patches of all images in one row, which OpenVINO's batches are not
            runtime = replace(runtime, engine="torch")
        self.engine = open_tower_engine(self.tower, runtime, half=specs[0].dtype == "float16")

    def preprocess(self, item: Any, key: str = "") -> Any:
        """The item itself, cleaned: the package reads whole batches. Raises BadItem for a text that marks a picture."""
        if self.joint:
            item = item._replace(text=clean_text(item.text, self.specs[0].clean))
        text = item.text if self.joint else item if isinstance(item, str) else ""
        if found := next((mark for mark in self.marks if mark in text), None):
            raise BadItem(f"its text holds {found}, which stands for a picture or a sound in this model")
        return item

    def length(self, prepared: Any) -> int:
        """About the number of word pieces of a text; 1 for an image."""
        if not isinstance(prepared, str):
            return 1
        pieces = len((self.prompt + prepared).encode()) // BYTES_PER_PIECE + 2
        return min(pieces, self.specs[0].max_length or pieces)

    def is_cut(self, item: Any, prepared: Any) -> bool:
        limit = self.specs[0].max_length
        text = f"{self.prompt}{prepared.text if self.joint else item}"
        if limit is None or len(text.encode()) + SPECIAL <= limit:  # no piece is shorter than a byte
            return False
        with self.lock:
            return is_cut(getattr(self.model.tokenizer, "tokenizer", self.model.tokenizer), text, limit)

    def encode(self, batch: Sequence[Any]) -> tuple[Encoded, ...]:
        features = self._features([_as_input(item) for item in batch])
        pooled, *states = (output.float().numpy() for output in self.engine(*(features[n] for n in self.tower.names)))
        tokens = [vector[None] for vector in pooled]
        if states and not self.joint:
            real = features.get("attention_mask", torch.ones(states[0].shape[:2])).bool().numpy()
            tokens = [rows[mask] for rows, mask in zip(states[0], real, strict=True)]
        return tuple(Encoded(np.ascontiguousarray(pooled), tokens) for _ in self.specs)

    def _features(self, items: list[Any]) -> dict[str, Any]:
        with self.lock:
            found: dict[str, Any] = self.model.preprocess(items, prompt=self.prompt or None)
            return found


def _as_input(item: Any) -> Any:
    """An item as the package takes it. In a conversation the image stands before the text."""
    if isinstance(item, WholePost):
        return {"image": to_pil_image(item.image), "text": item.text}
    return item if isinstance(item, str) else to_pil_image(item)


def _sample(reads: Reads) -> Any:
    image = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
    return _as_input({"image": image, "text": "a", "post": WholePost(image, "a")}[reads])


def _width(model: Any, reads: Reads) -> int:
    return int(model.encode([_sample(reads)], show_progress_bar=False).shape[-1])


def _load(repo: Repo) -> Any:
    """The model in fp32 on the CPU. Raises ValueError."""
    with warnings.catch_warnings(), quiet_transformers():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(
                str(repo.folder),
                device="cpu",
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"dtype": torch.float32},
            )
        except (OSError, ValueError, ImportError, KeyError, AttributeError) as error:
            raise ValueError(f"sentence-transformers cannot load {repo.name!r}: {first_line(error)}") from error
    return model.eval().requires_grad_(False)
