"""The interface of all encoders: options, an unloaded source, a loaded model, and the batch it returns."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..installation import install_line
from ..spec import Clean, Dtype, EncoderSpec, LongText
from ..words.word_pieces import Splitter
from .runtime import Runtime

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EncoderOptions:
    """Options of an encoder besides its name. None or () means the encoder's own default.

    The last six are for texts: one set of options serves both modalities, and `open_encoder` drops them for images.
    """

    weights: Path | None = None  # local state dict (.pth, .pt, .bin) or .safetensors
    local_files_only: bool = False
    dtype: Dtype = "float16"  # pass-through encoders ignore it
    layers: tuple[int, ...] = ()  # -1 is the last
    pools: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()  # for `@prompts`: what each embedding is compared with
    whole: bool = False  # resize the whole picture to the model's square instead of cropping it
    joint: bool = False  # embed image and text together
    clean: Clean = "none"
    long_text: LongText = "truncate"  # what is done with a text beyond `max_length`
    prompt: str | None = None  # words before each text, or the name of one of the model's prompts; "": none
    max_length: int | None = None
    cache: Path | None = None  # the folder that keeps the texts of images, for `@ocr`
    corpus: Sequence[str] = ()  # cleaned texts, for encoders that are fitted on them (gensim)


class WholePost(NamedTuple):
    """What an encoder of image and text together is given: a uint8 RGB tensor (3, H, W), and the text."""

    image: Tensor
    text: str

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded image, by which batches are bounded."""
        return self.image.nbytes


class Encoded(NamedTuple):
    """A batch of B embeddings: pooled (B, D) float32, and per item its tokens (T_b, D), float32 or the spec's dtype."""

    pooled: NDArray[np.float32]
    tokens: list[NDArray[Any]]


class Encoder(Protocol):
    """A loaded model in eval mode, without gradients. Its methods are thread-safe."""

    specs: tuple[EncoderSpec, ...]

    def preprocess(self, item: Any, key: str = "") -> Any:
        """Turn one decoded item into the model's input, on the CPU.

        An image is a uint8 RGB tensor (3, H, W), a text is cleaned, both together are a WholePost, not cleaned yet.

        `key` is the item's content key, which seeds an augmented view. Raises BadItem for an item that cannot be
        embedded, such as a text without a known word.
        """
        ...

    def length(self, prepared: Any) -> int:
        """Cost of one prepared item in tokens, to batch by budget; the same for all images."""
        return 1

    def is_cut(self, item: Any, prepared: Any) -> bool:
        """Whether an item is longer than the encoder's limit, so that its end is missing from what was prepared."""
        return False

    def encode(self, batch: Sequence[Any]) -> tuple[Encoded, ...]:
        """Embed prepared items, in order, in one forward pass; one result per spec."""
        ...


@dataclass(frozen=True)
class Source:
    """An encoder that is not loaded yet: a spec for each layer and pooling asked for, and how to load it.

    `words` opens what joins the tokens of a text to words, without the model; None where tokens are no words.
    """

    specs: tuple[EncoderSpec, ...]
    load: Callable[[Runtime], Encoder]
    words: Callable[[], Splitter] | None = None

    @property
    def spec(self) -> EncoderSpec:
        """The first spec, for most encoders the only one."""
        return self.specs[0]


def package_folder(package: str) -> Path | None:
    """The folder of an installed package, without importing it; None where it is missing."""
    found = importlib.util.find_spec(package)
    return Path(found.submodule_search_locations[0]) if found and found.submodule_search_locations else None


def require(package: str, name: str, *, extra: str) -> None:
    """Raise ValueError, with the line that installs it, where an optional package is missing; imports nothing."""
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"encoder {name!r} needs {package}, which is missing: `{install_line(extra)}`")


def refuse_weights(name: str, options: EncoderOptions) -> None:
    """Raise ValueError where a weights file is given to an encoder that takes none."""
    if options.weights is not None:
        raise ValueError(f"{name!r} takes no weights file; got {str(options.weights)!r}; leave out --weights")


def refuse_prompt(name: str, options: EncoderOptions) -> None:
    """Raise ValueError where a prompt is given to an encoder that reads words one by one."""
    if options.prompt:
        raise ValueError(f"{name!r} takes no prompt; got {options.prompt!r}; extract it without --prompt")


def choose_length(name: str, asked: int | None, *, limit: int, least: int = 3, unit: str = "") -> int:
    """Word pieces or words kept of a text: `limit` by default. Raises ValueError outside `least` to `limit`."""
    if asked is not None and not least <= asked <= limit:
        raise ValueError(f"max length of {name!r} must be {least} to {limit}{unit}; got {asked}")
    return limit if asked is None else asked
