"""The spec of an encoder and its fingerprint, the names of modalities and number formats, and BadItem."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal, get_args

Modality = Literal["image", "text"]
MODALITIES: tuple[Modality, ...] = ("image", "text")
Reads = Literal["image", "text", "post"]  # what of a post an encoder reads; post: image and text together
READS: tuple[Reads, ...] = (*MODALITIES, "post")
Clean = Literal["none", "social", "strict", "strict_zh", "tweet"]
LongText = Literal["truncate", "windows"]
SourceKind = Literal[
    "torchvision", "timm", "transformers", "sentence-transformers", "gensim", "lexicon", "import", "raw"
]
Dtype = Literal["float16", "float32", "uint8", "int32"]  # integers are for pass-through encoders

OCR = "ocr"  # in the preprocessing of an encoder that reads the text inside images
JOINT = "joint"  # in that of one that reads image and text together
TYPES = {"width": (int,), "max_length": (int, type(None))}  # of the fields of a spec; of all others, str
CHOICES = {"modality": get_args(Modality), "source": get_args(SourceKind), "dtype": get_args(Dtype)}


class BadItem(ValueError):  # noqa: N818 (the item is bad; the run goes on)
    """One post's image or text cannot be embedded; the message is the reason for the user."""


@dataclass(frozen=True)
class EncoderSpec:
    """Everything that determines the bytes of an embedding, and nothing else.

    Device, batch size, workers and runtime are left out on purpose: they must not change the numbers. Raises ValueError
    for a field of another type, or a word that is none of its choices, as an edited file may have.
    """

    name: str
    modality: Modality
    source: SourceKind
    architecture: str
    weights: str  # 'sha256:…' of the files, or an id of torchvision or timm; of a tuned encoder, its record too
    layer: str  # which feature map or hidden state
    pool: str  # how tokens become one vector
    preprocess: str  # canonical JSON of the preprocessing
    width: int  # D
    dtype: Dtype  # number format of tokens on disk; half precision is allowed to compute in it
    clean: Clean = "none"  # text cleaning; 'none' for images
    max_length: int | None = None  # word pieces kept; None for images

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) not in TYPES.get(name, (str,)) or (type(value) is int and value < 1):
                raise ValueError(f"{name} of an encoder cannot be {value!r}")
            if name in CHOICES and value not in CHOICES[name]:
                raise ValueError(f"{name} of an encoder must be one of {', '.join(CHOICES[name])}; got {value!r}")

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits of the canonical JSON of all fields."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=6).hexdigest()

    @property
    def prompt(self) -> str:
        """The words that stand before every text; empty for most encoders, and for images."""
        return str(json.loads(self.preprocess).get("prompt", "")) if self.modality == "text" else ""

    @property
    def long_text(self) -> LongText:
        """What is done with a text beyond the encoder's limit."""
        return "windows" if json.loads(self.preprocess).get("truncation") == "windows" else "truncate"

    @property
    def reads(self) -> Reads:
        """The part of a post that it reads: its modality, but of `@ocr` the image, of `@joint` both together."""
        if f'"{JOINT}":true' in self.preprocess:
            return "post"
        return "image" if f'"{OCR}":{{' in self.preprocess else self.modality

    @property
    def batched_by(self) -> Modality:
        """What its batches are counted in: images, or the word pieces of texts."""
        return "image" if self.reads == "post" else self.modality

    @property
    def raw(self) -> bool:
        """Whether it encodes nothing: its tokens are the input of a trained tower and are always stored."""
        return self.source == "raw"

    @property
    def slug(self) -> str:
        """Folder name of this encoder's cache: readable name, then fingerprint."""
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', self.name).strip('-.')[-60:]}-{self.fingerprint}"

    def to_json(self) -> str:
        """The spec as JSON with sorted keys, of which the fingerprint is made."""
        return canonical(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> EncoderSpec:
        """The spec of what `to_json` wrote."""
        return cls(**json.loads(text))


def canonical(parameters: Mapping[str, object]) -> str:
    """JSON with sorted keys and no spaces: equal parameters give equal strings."""
    return json.dumps(parameters, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
