"""The recorded attention of one post by what it fell on: patches of its picture, words of its text, pooled vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...features.spec import Modality
from ...features.words.word_pieces import Splitter
from ..config.values import Grid
from ..data.cached_features import CachedFeatures
from .explanation import Array, ImageAttention, LayerAttention, TextAttention
from .geometry import seen_box
from .originals import Original
from .positions import EncoderTokens, Patches, TextPieces, encoder_tokens, patches_of, pieces_of
from .recorded import LayerWeights
from .remarks import FIRST_IMAGE, NO_BOX, NO_GRID, Remark


class PostAttention(NamedTuple):
    """The fields of an explanation that are about attention."""

    layers: tuple[LayerAttention, ...]
    images: tuple[ImageAttention, ...]
    texts: tuple[TextAttention, ...]
    notes: tuple[Remark, ...]


def post_attention(
    table: CachedFeatures,
    row: int,
    layers: Sequence[LayerWeights],
    original: Original,
    *,
    patches: Grid | None,
    splitters: Mapping[str, Splitter],
) -> PostAttention:
    """The attention of one post, given the weights (h, S) of its layers; `patches` is the run's own grid."""
    notes: list[Remark] = []
    pictures = [patches_of(one, patches) for one in _tokens(table, row, layers, "image")]
    texts: list[TextPieces] = []
    for tokens in _tokens(table, row, layers, "text"):
        found, note = pieces_of(tokens, original.text, splitters)
        texts.append(found)
        notes += [note] if note else []
    images = [_image(one, layers, original) for one in pictures if one.grid]
    notes += [Remark(NO_GRID, {"encoder": one.spec.name}) for one in pictures if not one.grid]
    several = [one for one in pictures if one.grid and one.images > 1]
    notes += [Remark(FIRST_IMAGE, {"encoder": one.spec.name, "images": one.images}) for one in several]
    notes += [Remark(NO_BOX, {"encoder": one.encoder}) for one in images if one.size and not one.box]
    return PostAttention(
        tuple(_layer(one, pictures, texts) for one in layers),
        tuple(images),
        tuple(_text(one, layers) for one in texts if one.words),
        tuple(notes),
    )


def _tokens(table: CachedFeatures, row: int, layers: Sequence[LayerWeights], modality: Modality) -> list[EncoderTokens]:
    """The tokens of each encoder of a modality that some layer attends to."""
    side = table.sides.get(modality)
    length = max((found.shape[-1] for one in layers if (found := one.side(modality)) is not None), default=1)
    return encoder_tokens(side, row, length) if side else []


def _image(one: Patches, layers: Sequence[LayerWeights], original: Original) -> ImageAttention:
    assert one.grid
    weights = {
        layer.layer: found[:, one.positions].reshape(-1, *one.grid)
        for layer in layers
        if (found := layer.side("image")) is not None and found.shape[-1] > 1  # else of pooled vectors
    }
    box = seen_box(one.spec, *original.size) if original.size else None
    return ImageAttention(one.spec.name, _share(weights), weights, original.size, box)


def _text(one: TextPieces, layers: Sequence[LayerWeights]) -> TextAttention:
    weights = {
        layer.layer: np.stack([found[:, word.positions].sum(1) for word in one.words], 1)
        for layer in layers
        if (found := layer.side("text")) is not None and found.shape[-1] > 1
    }
    return TextAttention(one.spec.name, tuple(word.text for word in one.words), _share(weights), weights)


def _share(weights: Mapping[str, Array]) -> Array:
    """The mean over layers and attention heads, scaled to add up to 1."""
    mean: Array = np.mean([layer.mean(0) for layer in weights.values()], axis=0)
    scaled: Array = mean / max(mean.sum(), np.finfo(np.float64).tiny)
    return scaled


def _layer(one: LayerWeights, pictures: Sequence[Patches], texts: Sequence[TextPieces]) -> LayerAttention:
    shares: dict[str, float] = {}
    if (image := one.side("image")) is not None:
        inside = [place for picture in pictures for place in (*picture.positions, *picture.rest)]
        shares |= _split(image.mean(0), {"patches": inside}, "image vector")
    if (text := one.side("text")) is not None:
        inside = [place for found in texts for word in found.words for place in word.positions]
        others = [place for found in texts for place in found.others]
        shares |= _split(text.mean(0), {"words": inside, "special tokens": others}, "text vector")
    shares["nothing"] = float(one.sink.mean())
    return LayerAttention(one.layer, one.queries, one.keys, shares)


def _split(weights: Array, places: Mapping[str, Sequence[int]], rest: str) -> dict[str, float]:
    """The weights (S,) on each set of places, and on the `rest`."""
    if len(weights) == 1:  # a pooled vector alone
        places = {}
    found = {name: float(weights[list(own)].sum()) for name, own in places.items()}
    return found | {rest: float(weights.sum()) - sum(found.values())}
