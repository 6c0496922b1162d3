"""The one module that is run for all heads of an architecture, and by what names it is given theirs."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...heads.base import Head, Inputs
from ..training.optimizer import decay_groups
from ..training.precision import run_head


class Parts(nn.Module):
    """A head whose forward pass gives what training looks at, and its logits."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Map inputs to parts (M, B, K) and logits (B, K)."""
        return run_head(self.head, inputs)


def copy_of(head: Head) -> Head:
    """A copy of a head, with memory of its own: a deep copy of a row of a stack would have all other rows, too."""
    parameters = {id(p): nn.Parameter(p.detach().clone()) for p in head.parameters()}
    return copy.deepcopy(head, parameters)


def parameter_names(head: Head) -> list[str]:
    """A head's parameters in the order of `decay_groups`."""
    names = {id(parameter): name for name, parameter in head.named_parameters()}
    return [names[id(parameter)] for part in decay_groups(head) for parameter in part]


def own_buffers(heads: Sequence[Head]) -> dict[str, Tensor]:
    """The buffers in which heads differ, one below another. Keys of dropout are all heads' in common."""
    buffers = [dict(head.named_buffers()) for head in heads]
    return {
        f"head.{name}": torch.stack([of[name] for of in buffers])
        for name, first in buffers[0].items()
        if not name.endswith(".key") and any(not torch.equal(of[name], first) for of in buffers)
    }
