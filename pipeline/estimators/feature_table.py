"""Features as scikit-learn's X: the rows of both modalities, sliced together like an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ...features.spec import EncoderSpec, Modality
from ..data import cached_features as data
from ..data.cached_features import ModalityTable
from ..data.ragged import Ragged
from ..data.split import Posts

Widths = dict[str, tuple[int, bool]]


class FeatureTable:
    """The features of N posts: `image` (N, I) and `text` (N, E), either left out as a whole.

    `image_tokens` (N, P, I) and `text_tokens` (N, T, E) are what heads on tokens read beside the pooled vectors. A
    mask (N,) is False where a post lacks the modality; (N, P) says which tokens are there, and a row without any
    lacks the modality. A pooled row that is all NaN lacks it too. Masked values are never read.

    `table[rows]` is a table again, for any rows that an array accepts: a number (a table of one row), slice, mask, or
    list of numbers. As an array it is the concatenated pooled vectors, (N, I + E), NaN where missing.

    Raises ValueError on arrays that do not fit together, or hold NaN or infinity where a modality is there.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(
        self,
        image: ArrayLike | None = None,
        text: ArrayLike | None = None,
        *,
        image_tokens: ArrayLike | None = None,
        image_mask: ArrayLike | None = None,
        text_tokens: ArrayLike | None = None,
        text_mask: ArrayLike | None = None,
    ) -> None:
        self.image = _side("image", image, image_tokens, image_mask)
        self.text = _side("text", text, text_tokens, text_mask)
        lengths = [len(side.present) for _, side in self.sides]
        if not lengths:
            raise ValueError("a FeatureTable needs the features of a modality; give image=ARRAY or text=ARRAY")
        if len(set(lengths)) > 1:
            raise ValueError(f"image has {lengths[0]} rows and text {lengths[1]}; give one row per post to both")

    @classmethod
    def of(cls, image: ModalityTable | None, text: ModalityTable | None) -> FeatureTable:
        """A table of sides that are joined already."""
        table = cls.__new__(cls)
        table.image, table.text = image, text
        return table

    @property
    def sides(self) -> list[tuple[Modality, ModalityTable]]:
        """The modalities that are there, by name."""
        named: list[tuple[Modality, ModalityTable | None]] = [("image", self.image), ("text", self.text)]
        return [(name, side) for name, side in named if side is not None]

    @property
    def widths(self) -> Widths:
        """Width of each modality, and whether it has tokens."""
        return {name: (side.pooled.shape[1], _has_tokens(side)) for name, side in self.sides}

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and columns of all modalities together."""
        return len(self), sum(width for width, _ in self.widths.values())

    def __len__(self) -> int:
        return len(self.sides[0][1].present)

    def __getitem__(self, rows: Any) -> FeatureTable:
        if isinstance(rows, tuple):  # scikit-learn asks for X[rows, ...]
            if len(rows) != 2 or rows[1] is not Ellipsis:
                raise IndexError(f"a FeatureTable is indexed by rows alone, got {rows!r}; take .image or .text first")
            rows = rows[0]
        chosen = np.atleast_1d(np.arange(len(self))[rows])
        return FeatureTable.of(*(side and _cut(side, chosen) for side in (self.image, self.text)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        parts = [np.where(side.present[:, None], side.pooled, np.nan) for _, side in self.sides]
        return np.concatenate(parts, 1).astype(dtype or np.float32)

    def __repr__(self) -> str:
        return f"FeatureTable({len(self)} posts: {describe(self.widths)})"

    def joined(
        self, labels: Sequence[str | None], groups: NDArray[np.int64], classes: Sequence[str], *, tokens: bool
    ) -> data.CachedFeatures:
        """The same rows as training reads them. With `tokens`, a modality without any has zero tokens in every row."""
        nothing: list[None] = [None] * len(self)
        posts = Posts([str(row) for row in range(len(self))], list(labels), groups, nothing)
        image, text = (_with_tokens(side) if tokens and side else side for side in (self.image, self.text))
        return data.CachedFeatures(posts, tuple(classes), image, text)


def describe(widths: Widths) -> str:
    """Widths in words, as `image 1280, text 384 with tokens`."""
    return ", ".join(f"{name} {width}{' with tokens' * tokens}" for name, (width, tokens) in widths.items())


def _side(
    name: Modality, pooled: ArrayLike | None, tokens: ArrayLike | None, mask: ArrayLike | None
) -> ModalityTable | None:
    if pooled is None:
        if tokens is not None or mask is not None:
            raise ValueError(f"{name}_tokens and {name}_mask go with pooled vectors; give {name}=ARRAY as well")
        return None
    vectors = np.array(pooled, np.float32)
    if vectors.ndim != 2 or 0 in vectors.shape[1:]:
        raise ValueError(f"{name} must be an array (posts, columns), got shape {vectors.shape}; give one row per post")
    held = np.ones(len(vectors), bool) if mask is None else np.array(mask, bool)
    own, shown = (None, held) if tokens is None else _tokens(name, vectors, tokens, held)
    if shown.shape != vectors.shape[:1] and (own is None or shown.shape != own.shape[:2]):
        wanted = f"({len(vectors)},) or ({len(vectors)}, tokens)"
        raise ValueError(f"{name}_mask must be {wanted}, got shape {shown.shape}; give a truth value per post")
    there = held if held.ndim == 1 else np.asarray(held.any(1))
    present = np.asarray(there & ~np.isnan(vectors).all(1), bool)
    vectors[~present] = 0
    ragged = None if own is None else Ragged.of_padded(own, shown & present[:, None])
    if not (np.isfinite(vectors).all() and (ragged is None or np.isfinite(ragged.values).all())):
        raise ValueError(
            f"{name} has rows with NaN or infinity; a missing {name} is a row of NaN alone, or False in {name}_mask"
        )
    spec = EncoderSpec(name, name, "import", "", "", "", "", "", vectors.shape[1], "float32")
    return ModalityTable((spec,), present, vectors, ragged)


def _tokens(
    name: Modality, pooled: NDArray[np.float32], tokens: ArrayLike, held: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """A copy of the tokens, narrow if they came so, and their mask."""
    own = np.array(tokens)
    own = own if own.dtype == np.float16 else own.astype(np.float32)
    rows, width = pooled.shape
    if own.ndim != 3 or own.shape[0] != rows or own.shape[2] != width:
        raise ValueError(f"{name}_tokens must be ({rows}, tokens, {width}) as {name} is, got shape {own.shape}")
    return own, np.repeat(held[:, None], own.shape[1], 1) if held.ndim == 1 else held


def _cut(side: ModalityTable, rows: NDArray[np.int64]) -> ModalityTable:
    return replace(
        side,
        present=side.present[rows],
        pooled=side.pooled[rows],
        tokens=None if side.tokens is None else side.tokens[rows],
        views=(),
        parts=tuple(_cut(part, rows) for part in side.parts),
        seen=tuple(seen[rows] for seen in side.seen),
        images=None if side.images is None else side.images[rows],
    )


def _has_tokens(side: ModalityTable) -> bool:
    return side.tokens is not None or bool(side.parts)


def _with_tokens(side: ModalityTable) -> ModalityTable:
    if _has_tokens(side):
        return side
    rows, width = side.pooled.shape
    return replace(side, tokens=Ragged.of([None] * rows, width=width, dtype=np.float32))
