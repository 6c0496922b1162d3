"""What every encoder offers: options to open it with, a model that embeds batches, and what it returns."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..spec import Clean, Dtype, EncoderSpec
from .runtime import Runtime


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


def require(package: str, name: str, *, extra: str) -> None:
    """Raise ValueError with the line to install where an optional package is missing; import nothing."""
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"encoder {name!r} needs {package}, which is missing: pip install 'msa-pipeline[{extra}]'")


def refuse_weights(name: str, options: EncoderOptions) -> None:
    """Raise ValueError where a weights file is given to an encoder that has no use for one."""
    if options.weights is not None:
        raise ValueError(f"{name!r} takes no weights file; got {str(options.weights)!r}")
