"""The members of a greedy ensemble as one head, which predicts the weighted mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor, nn

from ...heads.base import MODALITIES, Dims, Head, Inputs, Modality
from ...heads.recording import unrecorded
from ...heads.registry import build_head
from ...heads.towers import Towers
from ..config.ensemble_config import EnsembleConfig, Member
from ..config.head_config import HeadConfig


class EnsembleHead(Head):
    """Members that were trained separately, each on its own encoders: log Σ wₘ softmax(logitsₘ).

    Weights are the counts of the members, divided by their sum. What members attend to is not recorded, since their
    layers differ.
    """

    weights: Tensor

    def __init__(self, heads: Sequence[Head], members: Sequence[Member], dims: Dims) -> None:
        nn.Module.__init__(self)
        self.dims, self.described = dims, list(members)
        counts = torch.tensor([float(member.count) for member in members])
        self.register_buffer("offsets", torch.zeros(dims.classes))
        self.register_buffer("weights", counts / counts.sum())
        self.members = nn.ModuleList(heads)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        with unrecorded():
            found = [
                (head(member_inputs(member, inputs, self.dims)) + head.offsets).log_softmax(-1) + weight.log()
                for head, member, weight in zip(self.members, self.described, self.weights, strict=True)
            ]
        return torch.stack(found).logsumexp(0)


def build_stored(config: HeadConfig, number: int, dims: Dims, towers: Towers) -> Head:
    """The head of this number of a run, counted over the ensembles of all folds, for stored weights."""
    if not isinstance(config, EnsembleConfig):
        kind = config.of_member(number % config.ensemble_size)
        return build_head(
            kind.fusion, dims, hidden=kind.hidden, dropout=kind.dropout, seed=0, towers=towers, **kind.options
        )
    members = config.members[number]
    heads = [build_stored(one.head, 0, member_dims(one, dims), member_towers(one, towers)) for one in members]
    return EnsembleHead(heads, members, dims)


def places(member: Member, modality: Modality) -> tuple[int, ...] | None:
    """The places of a member's encoders among those of the ensemble; None: it reads all of them."""
    return member.image if modality == "image" else member.text


def member_dims(member: Member, dims: Dims) -> Dims:
    """The widths of a member's inputs, given those of the ensemble's."""
    widths = {
        modality: tuple(dims.parts(modality)[place] for place in own)
        for modality in MODALITIES
        if (own := places(member, modality)) is not None
    }
    changed = {name: sum(parts) or 1 for name, parts in widths.items()}  # one masked column where there is none
    return replace(dims, **changed, **{f"{name}_parts": parts for name, parts in widths.items()})  # type: ignore[arg-type]


def member_inputs(member: Member, inputs: Inputs, dims: Dims) -> Inputs:
    """A member's inputs: the columns of its encoders, masked where these have no features of a post."""
    for modality in MODALITIES:
        own = places(member, modality)
        if own is not None:
            vectors, mask = inputs.side(modality)
            widths = dims.parts(modality)
            ends = list(accumulate(widths))
            columns = [vectors[..., ends[place] - widths[place] : ends[place]] for place in own]
            chosen = torch.cat(columns, -1) if columns else torch.zeros_like(vectors[..., :1])
            inputs = inputs.with_side(modality, chosen, mask & (chosen != 0).any(-1))  # absent features are zeros
    return inputs


def member_towers(member: Member, towers: Towers) -> Towers:
    """Those of the ensemble's towers that a member has."""
    return replace(
        towers,
        image=towers.image and member.image != (),
        vocabulary=towers.vocabulary if member.text != () else 0,
    )
