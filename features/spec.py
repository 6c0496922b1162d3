"""What an encoder is: a spec that decides every byte it writes, and how one is opened by name."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .encoders.runtime import Runtime

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


@dataclass(frozen=True)
class EncoderOptions:
    """What a user may ask of an encoder besides its name. None or () means the encoder's own default.

    The last three are about texts: one set of options serves both modalities, and `open_encoder` drops them for images.
    """

    weights: Path | None = None  # local state dict (.pth, .pt, .bin) or .safetensors
    local_files_only: bool = False
    dtype: Dtype = "float16"  # pass-through encoders have their own
    layers: tuple[int, ...] = ()  # -1 is the last
    pools: tuple[str, ...] = ()
    whole: bool = False  # stretch the whole picture to the model's square, instead of a crop
    clean: Clean = "none"
    max_length: int | None = None
    corpus: Sequence[str] = ()  # cleaned texts, for encoders that are fitted on them (gensim)


class Encoded(NamedTuple):
    """A batch of B embeddings: pooled (B, D) float32, and per item its tokens (T_b, D), float32 or the spec's dtype."""

    pooled: NDArray[np.float32]
    tokens: list[NDArray[Any]]


class Encoder(Protocol):
    """A loaded model. Both methods are thread-safe; `encode` runs the model, no gradient, eval mode."""

    specs: tuple[EncoderSpec, ...]

    def preprocess(self, item: Any, key: str = "") -> Any:
        """Turn one decoded item (uint8 RGB tensor (3, H, W), or cleaned text) into the model's input, on the CPU.

        `key` is the item's content key, from which an augmented view draws. Raises BadItem when nothing can be
        embedded (no known word, say).
        """
        ...

    def length(self, prepared: Any) -> int:
        """Cost of one prepared item in tokens, to batch by budget; constant for images."""
        ...

    def encode(self, batch: Sequence[Any]) -> tuple[Encoded, ...]:
        """Embed prepared items, in order: one result per spec, out of one forward pass."""
        ...


@dataclass(frozen=True)
class Source:
    """An encoder found but not loaded: what it gives (several layers or poolings are several specs), how to load it."""

    specs: tuple[EncoderSpec, ...]
    load: Callable[[Runtime], Encoder]

    @property
    def spec(self) -> EncoderSpec:
        """The first spec, which for most encoders is the only one."""
        return self.specs[0]


def canonical(parameters: Mapping[str, object]) -> str:
    """JSON with sorted keys and no spaces: equal parameters give equal strings."""
    return json.dumps(parameters, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def near_names(name: str, choices: Iterable[str]) -> str:
    """' (near: x, y)' for an error message; empty when nothing is near."""
    near = get_close_matches(name, list(choices), n=3, cutoff=0.5)
    return f" (near: {', '.join(near)})" if near else ""


def require(package: str, name: str, *, extra: str) -> None:
    """Raise ValueError with the line to install where an optional package is missing; import nothing."""
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"encoder {name!r} needs {package}, which is missing: pip install 'msa-pipeline[{extra}]'")


def refuse_weights(name: str, options: EncoderOptions) -> None:
    """Raise ValueError where a weights file is given to an encoder that has no use for one."""
    if options.weights is not None:
        raise ValueError(f"{name!r} takes no weights file; got {str(options.weights)!r}")
