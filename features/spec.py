"""What an encoder is: a spec that decides every byte it writes, and how one is opened by name."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

Modality = Literal["image", "text"]
Clean = Literal["none", "social", "strict"]
Dtype = Literal["float16", "float32", "uint8", "int32"]  # the whole numbers are those of pass-through encoders


class BadItem(ValueError):  # noqa: N818 (the item is bad; the run goes on)
    """One post's image or text cannot be embedded; the message is the reason that the user reads."""


@dataclass(frozen=True)
class EncoderSpec:
    """Everything that decides the bytes of an embedding, and nothing else.

    Device, batch size, workers and runtime are absent on purpose: they must not change the numbers.
    """

    name: str
    modality: Modality
    source: Literal["torchvision", "timm", "transformers", "gensim", "lexicon", "import", "raw"]
    architecture: str
    weights: str  # 'sha256:…' of the file, a hub revision, a torchvision id; what it was tuned on, where it was
    layer: str  # which feature map or hidden state
    pool: str  # how tokens become one vector
    preprocess: str  # canonical JSON of the preprocessing
    width: int  # D
    dtype: Dtype  # number format of tokens on disk; half precision is allowed to compute in it
    clean: Clean = "none"  # text cleaning; 'none' for images
    max_length: int | None = None  # word pieces kept; None for images

    @property
    def fingerprint(self) -> str:
        """12 hex digits of the canonical JSON of all fields."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=6).hexdigest()

    @property
    def raw(self) -> bool:
        """Whether nothing is encoded: tokens are what a tower of its own is trained on, and are always kept."""
        return self.source == "raw"

    @property
    def slug(self) -> str:
        """Folder name of this encoder's cache: readable name, then fingerprint."""
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', self.name).strip('-.')[-60:]}-{self.fingerprint}"

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> EncoderSpec:
        return cls(**json.loads(text))


def canonical(parameters: Mapping[str, object]) -> str:
    """JSON with sorted keys and no spaces: equal parameters give equal strings."""
    return json.dumps(parameters, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
