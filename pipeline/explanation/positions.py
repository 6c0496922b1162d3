"""What each position of the heads' inputs is: a pooled vector, a patch of the picture, a piece of a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...features.posts.text import clean_text
from ...features.spec import BadItem, EncoderSpec
from ...features.words.word_pieces import Splitter, Word, Words
from ..config.values import Grid
from ..data.cached_features import ModalityTable
from .geometry import token_grid
from .remarks import NO_WORDS, OTHER_WORDS, Remark

Ints = Sequence[int]


@dataclass(frozen=True)
class EncoderTokens:
    """The tokens of one encoder for one post: the positions of all of them, those of `images` one after another."""

    spec: EncoderSpec
    positions: Ints
    images: int = 1


@dataclass(frozen=True)
class Patches:
    """The patches of one image encoder, row by row; their grid is None where they form none.

    Of a post with several `images` they are those of the first; `rest` are the positions of the others' patches.
    """

    spec: EncoderSpec
    positions: Ints
    grid: Grid | None
    images: int = 1
    rest: Ints = ()


@dataclass(frozen=True)
class TextPieces:
    """The words of one text encoder, with their positions among the heads' inputs, and the pieces of no word."""

    spec: EncoderSpec
    words: list[Word]
    others: Ints


def encoder_tokens(side: ModalityTable, row: int, length: int) -> list[EncoderTokens]:
    """The tokens of each encoder of a modality for one post, among the `length` positions that the heads read.

    Empty where they read pooled vectors alone, or the post lacks the modality.
    """
    if length == 1 or not side.present[row]:
        return []
    parts = side.parts or (side,)
    start, found = int(len(parts) > 1), []  # one summary before several encoders
    for part in parts:
        assert part.tokens is not None
        raw, image = part.specs[0].raw, part.specs[0].modality == "image"
        count = length - 1 if raw and image else int(part.tokens.lengths[row])  # a tower has a grid of its own
        images = 1 if part.images is None else max(1, int(part.images[row]))
        found.append(EncoderTokens(part.specs[0], range(start + 1, start + 1 + count), images))
        start += 1 + part.tokens.longest
    return found


def patches_of(tokens: EncoderTokens, pooled: Grid | None) -> Patches:
    """The patches among an image encoder's tokens, which were pooled to a grid, if any; class tokens are none."""
    most = {"prefixes": 1} if tokens.spec.source == "import" else {}  # as where they are pooled
    each = len(tokens.positions) // tokens.images
    grid = token_grid(each, None if tokens.spec.raw else pooled, **most)
    prefix, shape = grid or (0, None)
    first, *others = (tokens.positions[each * n + prefix : each * (n + 1)] for n in range(tokens.images))
    return Patches(tokens.spec, first, shape, tokens.images, [place for other in others for place in other])


def pieces_of(
    tokens: EncoderTokens, text: str | None, splitters: Mapping[str, Splitter]
) -> tuple[TextPieces, Remark | None]:
    """The words among a text encoder's tokens, and why they are only numbered, if so."""
    own, splitter = tokens.positions, splitters.get(tokens.spec.slug)
    encoder = {"encoder": tokens.spec.name}
    reason = Remark(NO_WORDS, encoder)
    if splitter and text is not None:
        try:
            found = splitter(clean_text(text, tokens.spec.clean))
        except BadItem:
            found = Words([], 0)
        if found.tokens == len(own):
            words = [Word(word.text, tuple(own[place] for place in word.positions)) for word in found.words]
            inside = {place for word in words for place in word.positions}
            return TextPieces(tokens.spec, words, sorted({*own} - inside)), None
        reason = Remark(OTHER_WORDS, {**encoder, "here": found.tokens, "stored": len(own)})
    numbered = [Word(f"token {number}", (place,)) for number, place in enumerate(own, 1)]
    return TextPieces(tokens.spec, numbered, ()), reason
