"""Inputs of heads from cached features: tokens are projected once to a smaller width, modalities can be masked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...features.spec import EncoderSpec, Modality
from ...heads.base import Dims, Inputs
from ...heads.towers import Towers
from .cached_features import CachedFeatures, ModalityTable

FIT_VECTORS = 40_000  # vectors that a reduction is fitted on; more change it little
BLOCK_ROWS = 512
Reductions = Mapping[str, Tensor]  # the principal axes (D, W) of an encoder, by the names of `reduction_names`


def fit_reduction(table: ModalityTable, rows: NDArray[np.int64], width: int) -> Tensor:
    """Principal axes (D, W) of the tokens and pooled vectors of these rows about the origin, in units of their spread.

    Not about the mean: a head begins with a LayerNorm, which would magnify the small differences from it. Fitted on at
    most FIT_VECTORS vectors, evenly spaced. `width` above D keeps D axes.
    """
    assert table.tokens is not None
    assert table.token_mask is not None
    rows = rows[table.present[rows]]
    if not len(rows):
        name = table.specs[0].name
        raise ValueError(f"no training post has features of {name}; leave that modality out")
    row, position = np.nonzero(table.token_mask[rows])
    keep = np.linspace(0, len(row) - 1, min(len(row), FIT_VECTORS)).astype(np.int64)
    vectors = torch.from_numpy(np.concatenate([table.pooled[rows], table.tokens[rows[row[keep]], position[keep]]]))
    moments = (vectors.T @ vectors / len(vectors)).double()
    values, axes = torch.linalg.eigh(moments)
    basis = axes[:, -width:].flip(-1)
    # An axis is defined up to its sign: fix it, so that the same rows give the same numbers everywhere.
    basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    scale = values.clamp(min=0).mean().sqrt().clamp(min=1e-12)
    reduction: Tensor = (basis / scale).float()
    return reduction


def reduction_names(modality: Modality, encoders: int) -> list[str]:
    """The names of the reductions of a modality's encoders: the modality, then with `.1`, `.2`, … appended."""
    return [modality if number == 0 else f"{modality}.{number}" for number in range(encoders)]


def fit_reductions(
    table: CachedFeatures, rows: NDArray[np.int64], *, width: int | None, tokens: bool
) -> dict[str, Tensor]:
    """One reduction per encoder that has tokens wider than `width`; none for pooled vectors or `width=None`.

    The inputs of a tower are never reduced.
    """
    if not tokens or width is None:
        return {}
    return {
        name: fit_reduction(part, rows, width)
        for modality, side in table.sides.items()
        if not side.specs[0].raw
        for name, part in zip(reduction_names(modality, len(side.specs)), side.parts or (side,), strict=True)
        if part.pooled.shape[1] > width
    }


def towers_of(specs: Mapping[Modality, Sequence[EncoderSpec]], *, tokens: bool) -> Towers:
    """The towers that a head needs: one for each of these encoders that passes its input through."""
    raw = {modality: spec for modality, side in specs.items() for spec in side if spec.raw}
    vocabulary = json.loads(raw["text"].preprocess)["vocabulary"] if "text" in raw else 0
    return Towers(image="image" in raw, vocabulary=vocabulary, tokens=tokens)


def build_inputs(
    table: CachedFeatures,
    *,
    tokens: bool,
    reductions: Reductions | None = None,
    without: Modality | None = None,
) -> Inputs:
    """Inputs of all N posts on the CPU; `without` masks one modality out, as if every post lacked it.

    Raw tokens stay whole numbers: float32 would be four times as large, and `take` converts each batch. Tokens of
    several encoders follow one another, each encoder's pooled vector first, reduced to one width by their reductions
    and zeros; position 0 is then the mean of those pooled vectors.
    """
    image = _side(table, table.image, "image", tokens, reductions or {})
    text = _side(table, table.text, "text", tokens, reductions or {})
    inputs = Inputs(*image, *text)
    return mask_modality(inputs, without) if without else inputs


def mask_modality(inputs: Inputs, modality: Modality) -> Inputs:
    """The inputs as if every post lacked that modality."""
    vectors, mask = inputs.side(modality)
    return inputs.with_side(modality, vectors, mask & False)


def build_views(
    table: CachedFeatures,
    inputs: Inputs,
    *,
    tokens: bool,
    reductions: Reductions | None = None,
) -> list[Inputs]:
    """The `inputs` of `build_inputs` with each augmented view of the images; everything else is shared."""
    views = table.image.views if table.image else ()
    images = (_side(table, view, "image", tokens, reductions or {})[0] for view in views)
    return [inputs._replace(image=image.to(inputs.image.device)) for image in images]


def draw_views(inputs: Inputs, views: Sequence[Inputs], rows: Tensor, draw: torch.Generator) -> Inputs:
    """Inputs with each of these rows plain or in one of its views, all equally likely; other rows stay plain."""
    which = torch.randint(len(views) + 1, (len(inputs.image),), generator=draw).to(rows.device)[rows]
    image = inputs.image.clone()
    for number, view in enumerate(views, 1):
        chosen = rows[which == number]
        image[chosen] = view.image[chosen].to(image.dtype)
    return inputs._replace(image=image)


def dims_of(inputs: Inputs, table: CachedFeatures) -> Dims:
    """The widths of a head for these inputs of a table."""
    image, text = inputs.image.shape[-1], inputs.text.shape[-1]
    return Dims(image, text, len(table.classes), _parts(table, "image", image), _parts(table, "text", text))


def _parts(table: CachedFeatures, modality: Modality, width: int) -> tuple[int, ...]:
    """The widths of concatenated encoders; empty where tokens of several were reduced to one width."""
    widths = tuple(spec.width for spec in table.specs[modality])
    return widths if sum(widths) == width else ()


def _side(
    table: CachedFeatures, side: ModalityTable | None, modality: Modality, tokens: bool, reductions: Reductions
) -> tuple[Tensor, Tensor]:
    rows = len(table.posts.ids)
    if side is None:  # no encoder for this modality: one masked column
        return torch.zeros(rows, 1, 1), torch.zeros(rows, 1, dtype=torch.bool)
    present = torch.from_numpy(side.present)
    if not tokens and not side.specs[0].raw:
        return torch.from_numpy(side.pooled)[:, None], present[:, None]
    parts = side.parts or (side,)
    bases = [reductions.get(name) for name in reduction_names(modality, len(parts))]
    widths = [(part.pooled if basis is None else basis).shape[1] for part, basis in zip(parts, bases, strict=True)]
    masks = [present[:, None] & _mask(part) for part in parts]
    summary = int(len(parts) > 1)  # one position before all others
    length = summary + sum(mask.shape[1] for mask in masks)
    whole = all(basis is None for basis in bases) and len(parts) == 1
    assert parts[0].tokens is not None
    dtype = torch.from_numpy(parts[0].tokens[:0]).dtype if whole else torch.float32
    vectors = torch.zeros(rows, length, max(widths), dtype=dtype)
    start = summary
    for part, basis, width, mask in zip(parts, bases, widths, masks, strict=True):
        _write(vectors[:, start : start + mask.shape[1], :width], part, basis)
        if summary:
            vectors[:, 0] += vectors[:, start] / len(parts)
        start += mask.shape[1]
    return vectors, torch.cat([present[:, None]] * summary + masks, 1)


def _mask(part: ModalityTable) -> Tensor:
    """One encoder's mask (N, 1 + T): of its pooled vector, then of its tokens."""
    assert part.token_mask is not None
    return torch.cat([torch.from_numpy(part.present)[:, None], torch.from_numpy(part.token_mask)], 1)


def _write(vectors: Tensor, part: ModalityTable, basis: Tensor | None) -> None:
    """Fill vectors (N, 1 + T, W) with one encoder's pooled vectors and tokens."""
    assert part.tokens is not None
    pooled, own = torch.from_numpy(part.pooled)[:, None], torch.from_numpy(part.tokens)
    if basis is None:
        vectors[:, :1] = pooled.to(vectors.dtype)
        vectors[:, 1:] = own.to(vectors.dtype)
        return
    for start in range(0, len(own), BLOCK_ROWS):  # in blocks, so that the full width is never doubled in memory
        rows = slice(start, start + BLOCK_ROWS)
        vectors[rows] = torch.cat([pooled[rows], own[rows].float()], 1) @ basis
