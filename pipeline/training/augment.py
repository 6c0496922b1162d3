"""Augmentation of a batch in training: modality dropout and mixup."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...heads.base import Inputs
from ..config.train_config import TrainConfig
from .seeds import draw_seed, drawing


def augment(
    inputs: Inputs, targets: Tensor, config: TrainConfig, step: int, joint: Tensor | None = None
) -> tuple[Inputs, Tensor]:
    """A batch and its targets (B, K), augmented as `config` says for this step. `joint` as in RaggedInputs."""
    if config.modality_dropout:
        inputs = hide_modality(inputs, config.modality_dropout, drawing(config.seed, "hide", step), joint)
    if config.mixup:
        share = float(np.random.default_rng(draw_seed(config.seed, "share", step)).beta(config.mixup, config.mixup))
        order = torch.randperm(len(targets), generator=drawing(config.seed, "blend", step))
        inputs, targets = blend(inputs, targets, order.to(targets.device), max(share, 1 - share))
    return inputs, targets


def hide_modality(inputs: Inputs, share: float, draw: torch.Generator, joint: Tensor | None = None) -> Inputs:
    """Hide one modality, either as likely, of a share of the rows; a row that has only one keeps it.

    Where an image is hidden, the `joint` columns of the text are zeros.
    """
    number = len(inputs.image)
    drawn = torch.rand(number, generator=draw).to(inputs.image.device)
    both = inputs.image_mask.any(1) & inputs.text_mask.any(1)
    image = both & (drawn < share / 2)  # (B,)
    text = both & (drawn >= share / 2) & (drawn < share)
    if joint is not None:
        inputs = inputs._replace(text=torch.where(image[:, None, None] & joint, 0.0, inputs.text))
        text = text | image & joint.all()  # nothing is left of a text without columns of its own
    return inputs._replace(image_mask=inputs.image_mask & ~image[:, None], text_mask=inputs.text_mask & ~text[:, None])


def blend(inputs: Inputs, targets: Tensor, order: Tensor, share: float) -> tuple[Inputs, Tensor]:
    """Blend row b with row order[b], features and targets (B, K) alike: `share` of the first, the rest of the other.

    Zhang et al., 2018, on features. A position that only one of the two rows has is taken from that one.
    """
    blended = Inputs(*_blend(*inputs.side("image"), order, share), *_blend(*inputs.side("text"), order, share))
    return blended, targets * share + targets[order] * (1 - share)


def _blend(vectors: Tensor, mask: Tensor, order: Tensor, share: float) -> tuple[Tensor, Tensor]:
    own = mask.to(vectors.dtype)[..., None] * share  # (B, L, 1)
    other = mask[order].to(vectors.dtype)[..., None] * (1 - share)
    total = (own + other).clamp(min=torch.finfo(vectors.dtype).tiny)
    clean, others = (torch.where(m[..., None], v, 0.0) for v, m in ((vectors, mask), (vectors[order], mask[order])))
    return (clean * own + others * other) / total, mask | mask[order]
