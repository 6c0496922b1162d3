"""Padded inputs of all posts, as heads read them, to ragged ones, as trainings read them, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from msa.heads.base import Inputs
from msa.pipeline.data.ragged_inputs import RaggedInputs, RaggedSide, Section


def ragged(inputs: Inputs) -> RaggedInputs:
    """The same posts without their padding, and without what stands in it."""
    return RaggedInputs(_side(*inputs.side("image")), _side(*inputs.side("text")))


def padded(inputs: RaggedInputs) -> Inputs:
    """All posts, padded to the longest that there is room for."""
    return inputs.take(torch.arange(len(inputs)), cut=False)


def _side(vectors: Tensor, mask: Tensor) -> RaggedSide:
    sections = [Section(vectors[:, 0], None, mask[:, 0].long(), 1)]
    if mask.shape[1] > 1:
        own, lengths = mask[:, 1:], mask[:, 1:].sum(1)
        sections.append(Section(vectors[:, 1:][own], lengths.cumsum(0) - lengths, lengths, own.shape[1]))
    return RaggedSide(tuple(sections))
