"""From arrays to a head's inputs: tokens projected once to a smaller width, modalities masked out on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..features.encoders import Modality
from ..heads.base import Dims, Inputs
from .data import FeatureTable, ModalityTable

FIT_VECTORS = 40_000  # vectors that a reduction is fitted on; more change it little
BLOCK_ROWS = 512


@dataclass(frozen=True)
class Reduction:
    """Principal axes of one modality, fitted on training rows: basis (D, W)."""

    basis: Tensor

    def __call__(self, vectors: Tensor) -> Tensor:
        """Map (…, D) to (…, W)."""
        return vectors @ self.basis


def fit_reduction(table: ModalityTable, rows: NDArray[np.int64], width: int) -> Reduction:
    """Principal axes of the tokens and pooled vectors of these rows about the origin, in units of their spread.

    Not about the mean: a head begins with a LayerNorm, which would blow up what little a typical vector differs
    from it. Fitted on at most FIT_VECTORS vectors, evenly taken. `width` above D keeps D axes.
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
    return Reduction((basis / scale).float())


def fit_reductions(
    table: FeatureTable, rows: NDArray[np.int64], *, width: int | None, tokens: bool
) -> dict[Modality, Reduction]:
    """One reduction per modality that has tokens wider than `width`; none for pooled vectors or `width=None`."""
    if not tokens or width is None:
        return {}
    modalities: dict[Modality, ModalityTable | None] = {"image": table.image, "text": table.text}
    return {
        name: fit_reduction(side, rows, width)
        for name, side in modalities.items()
        if side is not None and side.pooled.shape[1] > width
    }


def build_inputs(
    table: FeatureTable,
    *,
    tokens: bool,
    reductions: Mapping[Modality, Reduction] | None = None,
    without: Modality | None = None,
) -> Inputs:
    """Inputs of all N posts on the CPU; `without` masks one modality out, as if every post lacked it."""
    reductions = reductions or {}
    image = _side(table, table.image, tokens, reductions.get("image"), hidden=without == "image")
    text = _side(table, table.text, tokens, reductions.get("text"), hidden=without == "text")
    return Inputs(*image, *text)


def build_views(
    table: FeatureTable,
    inputs: Inputs,
    *,
    tokens: bool,
    reductions: Mapping[Modality, Reduction] | None = None,
) -> list[Inputs]:
    """The `inputs` of `build_inputs` once more for each augmented view of the images; everything else is shared."""
    reduction = (reductions or {}).get("image")
    views = table.image.views if table.image else ()
    images = (_side(table, view, tokens, reduction, hidden=False)[0] for view in views)
    return [inputs._replace(image=image.to(inputs.image.device)) for image in images]


def draw_views(inputs: Inputs, views: Sequence[Inputs], rows: Tensor, draw: torch.Generator) -> Inputs:
    """Show each of these rows plain or in one of its views, as likely as one another; other rows stay plain."""
    which = torch.randint(len(views) + 1, (len(inputs.image),), generator=draw).to(rows.device)[rows]
    image = inputs.image.clone()
    for number, view in enumerate(views, 1):
        chosen = rows[which == number]
        image[chosen] = view.image[chosen].to(image.dtype)
    return inputs._replace(image=image)


def dims_of(inputs: Inputs, classes: int) -> Dims:
    """The widths that a head for these inputs is built with."""
    return Dims(inputs.image.shape[-1], inputs.text.shape[-1], classes)


def _side(
    table: FeatureTable, side: ModalityTable | None, tokens: bool, reduction: Reduction | None, *, hidden: bool
) -> tuple[Tensor, Tensor]:
    rows = len(table.posts.ids)
    if side is None:  # no encoder for this modality: one masked column
        return torch.zeros(rows, 1, 1), torch.zeros(rows, 1, dtype=torch.bool)
    present = torch.from_numpy(side.present)
    pooled = torch.from_numpy(side.pooled)[:, None]
    if not tokens:
        return pooled, (present & (not hidden))[:, None]
    assert side.tokens is not None
    assert side.token_mask is not None
    mask = torch.cat([present[:, None], torch.from_numpy(side.token_mask)], 1) & (not hidden)
    width = side.pooled.shape[1] if reduction is None else reduction.basis.shape[1]
    own = torch.from_numpy(side.tokens)
    vectors = torch.empty(rows, mask.shape[1], width, dtype=own.dtype if reduction is None else torch.float32)
    for start in range(0, rows, BLOCK_ROWS):  # in blocks, so that the full width is never doubled in memory
        part = slice(start, start + BLOCK_ROWS)
        block = torch.cat([pooled[part], own[part].float()], 1)
        vectors[part] = block if reduction is None else reduction(block)
    return vectors, mask
