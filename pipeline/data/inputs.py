"""Inputs of heads from cached features: tokens are projected once to a smaller width, modalities can be masked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...features.spec import EncoderSpec, Modality
from ...heads.base import Dims
from ...heads.towers import Towers
from .cached_features import CachedFeatures, ModalityTable
from .ragged_inputs import DrawnSide, RaggedInputs, RaggedSide, Section
from .storage import Storage

FIT_VECTORS = 40_000  # vectors that a reduction is fitted on; more change it little
BLOCK = 1 << 12  # vectors that are copied or projected at once
Reductions = Mapping[str, Tensor]  # the principal axes (D, W) of an encoder, by the names of `reduction_names`


def fit_reduction(table: ModalityTable, rows: NDArray[np.int64], width: int, storage: Storage = Storage()) -> Tensor:
    """Principal axes (D, W) of the tokens and pooled vectors of these rows about the origin, in units of their spread.

    Not about the mean: a head begins with a LayerNorm, which would magnify the small differences from it. Fitted on at
    most FIT_VECTORS vectors, evenly spaced. `width` above D keeps D axes. Raises ValueError where no row has the
    modality.
    """
    assert table.tokens is not None
    rows = rows[table.present[rows]]
    if not len(rows):
        name = table.specs[0].name
        raise ValueError(f"no training post has features of {name}; leave that modality out")
    tokens = table.tokens[rows]
    columns = table.pooled.shape[1]
    most = min(FIT_VECTORS, max(4 * columns, storage.memory // (16 * columns))) if storage.mapped else FIT_VECTORS
    places = tokens.places(_evenly(int(tokens.lengths.sum()), most))
    rows = rows[_evenly(len(rows), most)]
    vectors = torch.empty(len(rows) + len(places), columns)
    vectors[: len(rows)] = torch.from_numpy(table.pooled[rows])
    for start in range(0, len(places), BLOCK):
        some = places[start : start + BLOCK]
        vectors[len(rows) + start :][: len(some)] = torch.from_numpy(table.tokens.values[some])
    moments = (vectors.T @ vectors / len(vectors)).double()
    values, axes = torch.linalg.eigh(moments)
    basis = axes[:, -width:].flip(-1)
    # An axis is defined up to its sign: fix it, so that the same rows give the same numbers everywhere.
    basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    scale = values.clamp(min=0).mean().sqrt().clamp(min=1e-12)
    reduction: Tensor = (basis / scale).float()
    return reduction


def _evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` numbers below `count`, evenly spaced."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


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
        name: fit_reduction(part, rows, width, table.storage)
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
) -> RaggedInputs:
    """Inputs of all N posts on the CPU; `without` masks one modality out, as if every post lacked it.

    Vectors that are not reduced are those of the table, in its number format. Tokens of several encoders follow one
    another, each encoder's pooled vector first, reduced to one width by their reductions and zeros; position 0 is then
    the mean of those pooled vectors.
    """
    image = _side(table, table.image, "image", tokens, reductions or {})
    text = _side(table, table.text, "text", tokens, reductions or {})
    inputs = RaggedInputs(image, text, _rows_at_once(table.storage, image, text), joint_columns(table))
    return mask_modality(inputs, without) if without else inputs


def joint_columns(table: CachedFeatures) -> Tensor | None:
    """Which columns (E,) of the text's pooled vectors embed the image as well; None where none do."""
    joint = [spec.reads == "post" for spec in table.specs["text"] for _ in range(spec.width)]
    return torch.tensor(joint) if any(joint) else None


def _rows_at_once(storage: Storage, *sides: RaggedSide) -> int:
    """How many posts fill a buffer of the storage; 0 where all are in memory."""
    sections = [section for side in sides for section in side.sections]
    size = sum(section.values.nbytes for section in sections)
    return max(1, storage.buffer * len(sections[0].lengths) // max(1, size)) if storage.mapped else 0


def mask_modality(inputs: RaggedInputs, modality: Modality) -> RaggedInputs:
    """The inputs as if every post lacked that modality, and with it what embeds both together."""
    if modality == "image":
        inputs = inputs.without_joint()
    return inputs.with_side(modality, inputs.side(modality).hidden())


def build_views(
    table: CachedFeatures,
    inputs: RaggedInputs,
    *,
    tokens: bool,
    reductions: Reductions | None = None,
) -> list[RaggedInputs]:
    """The `inputs` of `build_inputs` with each augmented view of the images; everything else is shared."""
    views = table.image.views if table.image else ()
    images = (_side(table, view, "image", tokens, reductions or {}) for view in views)
    return [inputs.with_side("image", image.to(str(inputs.device))) for image in images]


def draw_views(
    inputs: RaggedInputs, views: Sequence[RaggedInputs], rows: Tensor, draw: torch.Generator
) -> RaggedInputs:
    """Inputs with each of these rows plain or in one of its views, all equally likely; other rows stay plain."""
    drawn = torch.randint(len(views) + 1, (len(inputs),), generator=draw).to(rows.device)
    which = torch.zeros_like(drawn)
    which[rows] = drawn[rows]
    return inputs.with_side("image", DrawnSide(inputs.image.sections, tuple(view.image for view in views), which))


def dims_of(inputs: RaggedInputs, table: CachedFeatures) -> Dims:
    """The widths of a head for these inputs of a table."""
    image, text = inputs.image.width, inputs.text.width
    return Dims(image, text, len(table.classes), _parts(table, "image", image), _parts(table, "text", text))


def _parts(table: CachedFeatures, modality: Modality, width: int) -> tuple[int, ...]:
    """The widths of concatenated encoders; empty where tokens of several were reduced to one width."""
    widths = tuple(spec.width for spec in table.specs[modality])
    return widths if sum(widths) == width else ()


def _side(
    table: CachedFeatures, side: ModalityTable | None, modality: Modality, tokens: bool, reductions: Reductions
) -> RaggedSide:
    rows = len(table.posts.ids)
    storage = table.storage
    if side is None:  # no encoder for this modality: one masked column
        return RaggedSide((_pooled_section(torch.zeros(rows, 1), np.zeros(rows, bool)),))
    if not tokens and not side.specs[0].raw:
        return RaggedSide((_pooled_section(torch.from_numpy(side.pooled), side.present),))
    parts = side.parts or (side,)
    sections: list[Section] = []
    for name, part in zip(reduction_names(modality, len(parts)), parts, strict=True):
        assert part.tokens is not None
        basis = reductions.get(name)
        own = part.tokens.lengths * side.present
        starts, lengths = torch.from_numpy(part.tokens.starts), torch.from_numpy(own)
        sections += [
            _pooled_section(_project(part.pooled, basis, storage), side.present & part.present),
            Section(_project(part.tokens.values, basis, storage), starts, lengths, part.tokens.longest),
        ]
    if len(parts) > 1:  # one position before all others
        vectors = [section.values for section in sections[::2]]
        width = max(one.shape[1] for one in vectors)
        mean = storage.rows(rows, width, lambda some: _mean([one[some] for one in vectors], width).numpy())
        sections.insert(0, _pooled_section(torch.from_numpy(mean), side.present))
    return RaggedSide(tuple(sections))


def _mean(parts: Sequence[Tensor], width: int) -> Tensor:
    """The mean (n, width) of vectors (n, at most width), with zeros for further columns."""
    mean = torch.zeros(len(parts[0]), width)
    for part in parts:
        mean[:, : part.shape[1]] += part / len(parts)
    return mean


def _pooled_section(vectors: Tensor, present: NDArray[np.bool_]) -> Section:
    return Section(vectors, None, torch.from_numpy(present.astype(np.int64)), 1)


def _project(vectors: NDArray[Any], basis: Tensor | None, storage: Storage) -> Tensor:
    """Vectors (S, D) of the table, projected to (S, W) by a basis (D, W) if there is one."""
    own = torch.from_numpy(vectors)
    if basis is None:
        return own
    projected = torch.from_numpy(storage.empty((len(own), basis.shape[1]), np.float32))
    for start in range(0, len(own), BLOCK):  # in blocks, as float32 may be twice as large as what is stored
        torch.matmul(own[start : start + BLOCK].float(), basis, out=projected[start : start + BLOCK])
    return projected
