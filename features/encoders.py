"""What an encoder is: a spec that decides every byte it writes, and how one is opened by name."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Modality = Literal["image", "text"]


class BadItem(ValueError):
    """One post's image or text cannot be embedded; the message is the reason that the user reads."""


@dataclass(frozen=True)
class EncoderSpec:
    """Everything that decides the bytes of an embedding, and nothing else.

    Device, batch size, workers and runtime are absent on purpose: they must not change the numbers.
    """

    name: str
    modality: Modality
    source: Literal["torchvision", "timm", "transformers", "gensim"]
    architecture: str
    weights: str  # 'sha256:…' of the file, a hub revision, or a torchvision weights id
    layer: str  # which feature map or hidden state
    pool: str  # how tokens become one vector
    preprocess: str  # canonical JSON of the preprocessing
    width: int  # D
    dtype: Literal["float16", "float32"]  # number format of tokens on disk; half precision is allowed to compute in it
    clean: str = "none"  # text cleaning; 'none' for images
    max_length: int | None = None  # word pieces kept; None for images

    @property
    def fingerprint(self) -> str:
        """12 hex digits of the canonical JSON of all fields."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=6).hexdigest()

    @property
    def slug(self) -> str:
        """Folder name of this encoder's cache: readable name, then fingerprint."""
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', self.name).strip('-.')[-60:]}-{self.fingerprint}"

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> EncoderSpec:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class EncoderOptions:
    """What a user may ask of an encoder besides its name. None means the encoder's own default."""

    weights: Path | None = None  # local state dict (.pth, .pt, .bin) or .safetensors
    local_files_only: bool = False
    dtype: Literal["float16", "float32"] = "float16"
    clean: Literal["none", "social", "strict"] = "none"
    max_length: int | None = None
    pool: str | None = None
    corpus: Sequence[str] = ()  # cleaned texts, for encoders that are fitted on them (gensim)


class Encoded(NamedTuple):
    """A batch of B embeddings: pooled (B, D) float32, and per item its tokens (T_b, D) float32."""

    pooled: NDArray[np.float32]
    tokens: list[NDArray[np.float32]]


class Encoder(Protocol):
    """A loaded model. `preprocess` is thread-safe, CPU only; `encode` runs the model, no gradient, eval mode."""

    spec: EncoderSpec

    def preprocess(self, item: Any) -> Any:
        """Turn one decoded item (uint8 RGB tensor (3, H, W), or cleaned text) into the model's input.

        Raises BadItem when nothing can be embedded (no known word, say).
        """
        ...

    def length(self, prepared: Any) -> int:
        """Cost of one prepared item in tokens, to batch by budget; constant for images."""
        ...

    def encode(self, batch: Sequence[Any]) -> Encoded:
        """Embed prepared items, in order."""
        ...


@dataclass(frozen=True)
class Source:
    """An encoder found but not loaded: its spec, and the way to load it onto a torch device ('cpu', 'cuda', …)."""

    spec: EncoderSpec
    load: Callable[[str], Encoder]
