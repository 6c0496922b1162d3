"""Encoders that are given a part of an image: a random crop, seeded by its content key, or the text inside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

from ..posts.image_texts import ImageTexts, reader_id
from ..posts.text import clean_text
from ..spec import OCR, EncoderSpec, canonical
from .encoder import Encoded, Encoder, Source, package_folder, require
from .runtime import Runtime
from .variants import parse_encoder_name

if TYPE_CHECKING:
    from torch import Tensor

KIND = "random-resized-crop+flip"
SEED = 0
SCALE = (0.35, 1.0)  # share of the area; smaller crops often lose the subject
RATIO = (3 / 4, 4 / 3)  # width over height of the crop, before it is resized
TRIES = 10
PILLOW = {0: "nearest-exact", 1: "bicubic", 2: "bilinear", 3: "bicubic"}  # as transformers does it on uint8 tensors

# loaded encoders in use, so that the views of an image and the plain one share one copy of the weights
_loaded: WeakValueDictionary[tuple[tuple[EncoderSpec, ...], Runtime], Encoder] = WeakValueDictionary()
_loading = RLock()


class Crop(NamedTuple):
    """A box inside an image, in pixels, and whether it is flipped."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


def view_spec(spec: EncoderSpec, index: int) -> EncoderSpec:
    """The spec of view `index` (1, 2, …) of an image encoder. Raises ValueError for a text encoder or another view."""
    if spec.modality != "image":
        raise ValueError(f"views are of images; {spec.name!r} serves {spec.modality}")
    if index < 1:
        raise ValueError(f"views are counted from 1; got view {index} of {spec.name!r}")
    plain = json.loads(spec.preprocess)
    if "view" in plain:
        raise ValueError(f"{spec.name!r} is a view itself; name the plain encoder")
    view = {"kind": KIND, "index": index, "seed": SEED, "scale": SCALE, "ratio": RATIO}
    return replace(spec, name=f"{spec.name}@view{index}", preprocess=canonical(plain | {"view": view}))


def view_source(source: Source, index: int) -> Source:
    """View `index` (1, 2, …) of an image encoder as an encoder of its own; see `view_spec` and `share_loaded`."""
    specs = tuple(view_spec(spec, index) for spec in source.specs)
    shared = share_loaded(source)
    return Source(specs, lambda runtime: ViewEncoder(specs, shared.load(runtime), index))


def share_loaded(source: Source) -> Source:
    """The same source, whose `load` returns an equal encoder that is still in use with the same runtime, if any."""

    def load(runtime: Runtime) -> Encoder:
        with _loading:
            encoder = _loaded.get((source.specs, runtime))
            if encoder is None:
                encoder = _loaded[source.specs, runtime] = source.load(runtime)
            return encoder

    return replace(source, load=load)


class ViewEncoder(Encoder):
    """A loaded image encoder that gets a crop of each image."""

    def __init__(self, specs: Sequence[EncoderSpec], plain: Encoder, index: int) -> None:
        """Find the input size of `plain`. Raises ValueError where it is not fixed, or the interpolation unknown."""
        self.specs = tuple(specs)
        self.plain = plain
        self.index = index
        self.resized = _resized_crop(specs[0].name, json.loads(specs[0].preprocess), _size(specs[0].name, plain))

    def preprocess(self, item: Tensor, key: str = "") -> Tensor:
        """Crop and resize one image (3, H, W) to the plain encoder's size, uint8 (3, h, w); `key` seeds the crop."""
        *box, flip = draw_crop(item.shape[-2], item.shape[-1], key, self.index)
        pixels: Tensor = self.resized(item, *box)
        return (pixels.flip(-1) if flip else pixels).contiguous()

    def encode(self, batch: Sequence[Tensor]) -> tuple[Encoded, ...]:
        return self.plain.encode(batch)


def draw_crop(height: int, width: int, key: str, index: int, *, seed: int = SEED) -> Crop:
    """The crop of one view of one image: area within SCALE, aspect ratio within RATIO, flipped with probability 1/2.

    Depends on content key, index and seed alone. As in torchvision, an image that no drawn box fits gets a centre crop.
    """
    draw = Random(f"{key} {index} {seed}").random  # the one method whose numbers Python guarantees
    flip = draw() < 0.5
    for _ in range(TRIES):
        area = height * width * (SCALE[0] + draw() * (SCALE[1] - SCALE[0]))
        ratio = RATIO[0] * (RATIO[1] / RATIO[0]) ** draw()
        high, wide = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < high <= height and 0 < wide <= width:
            return Crop(int(draw() * (height - high + 1)), int(draw() * (width - wide + 1)), high, wide, flip)
    high, wide = min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))
    return Crop((height - high) // 2, (width - wide) // 2, high, wide, flip)


def _size(name: str, plain: Encoder) -> list[int]:
    """Height and width of an encoder's input. Raises ValueError where they vary or the input is not uint8."""
    import torch

    inputs = [plain.preprocess(torch.zeros(3, *shape, dtype=torch.uint8)) for shape in ((48, 64), (64, 48))]
    if inputs[0].shape != inputs[1].shape or any(pixels.dtype != torch.uint8 for pixels in inputs):
        raise ValueError(f"{name!r} cannot be made: its encoder has no fixed input size; leave out --views")
    return list(inputs[0].shape[-2:])


def _resized_crop(name: str, preprocess: dict[str, Any], size: list[int]) -> Callable[..., Any]:
    """torchvision's crop and resize, with the interpolation of the encoder's own preprocessing."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    how = preprocess.get("interpolation") or PILLOW.get(preprocess.get("resample", -1))
    if how is None:
        raise ValueError(f"{name!r} cannot be made: its encoder names no known interpolation; leave out --views")
    antialias = preprocess.get("antialias", True)
    return partial(F.resized_crop, size=size, interpolation=InterpolationMode(how), antialias=antialias)


def ocr_source(source: Source, cache: Path | None) -> Source:
    """A text encoder for the text inside images, as an encoder of its own, keyed by the image.

    An image without text has the embedding of an empty one. What is read is kept in the `cache` folder. Raises
    ValueError where RapidOCR is missing, and for an encoder that refuses an empty text.
    """
    name = source.spec.name
    if source.spec.source == "gensim":
        raise ValueError(f"{name!r} has no variant @ocr: it has no vector of an empty text; take another text encoder")
    for package in ("rapidocr", "onnxruntime"):
        require(package, f"{name}@ocr", extra="ocr")
    folder = package_folder("rapidocr")
    assert folder is not None
    reader = reader_id(folder)
    specs = tuple(_ocr_spec(spec, reader) for spec in source.specs)
    shared = share_loaded(source)
    texts = ImageTexts(reader, cache)
    return Source(specs, lambda runtime: OcrEncoder(specs, shared.load(runtime), texts))


def _ocr_spec(spec: EncoderSpec, reader: dict[str, str]) -> EncoderSpec:
    variant = replace(parse_encoder_name(spec.name, local=False), ocr=True)
    preprocess = json.loads(spec.preprocess) | {OCR: reader}
    return replace(spec, name=variant.base + variant.suffix, preprocess=canonical(preprocess))


class ReadText(NamedTuple):
    """The cleaned text of an image, and the model's input."""

    text: str
    prepared: Any


class OcrEncoder(Encoder):
    """A loaded text encoder that gets the text of each image (3, H, W)."""

    def __init__(self, specs: Sequence[EncoderSpec], plain: Encoder, texts: ImageTexts) -> None:
        self.specs = tuple(specs)
        self.plain = plain
        self.texts = texts

    def preprocess(self, item: Any, key: str = "") -> ReadText:
        """Read the text of one image, clean it and prepare it. Raises BadItem."""
        text = clean_text(self.texts.text(item.permute(1, 2, 0).numpy(), key), self.specs[0].clean)
        return ReadText(text, self.plain.preprocess(text, key))

    def length(self, prepared: ReadText) -> int:
        """Number of word pieces."""
        return self.plain.length(prepared.prepared)

    def is_cut(self, item: Any, prepared: ReadText) -> bool:
        return self.plain.is_cut(*prepared)

    def encode(self, batch: Sequence[ReadText]) -> tuple[Encoded, ...]:
        return self.plain.encode([read.prepared for read in batch])
