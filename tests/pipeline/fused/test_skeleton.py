"""What stands for all stacked heads has memory of its own."""

from __future__ import annotations

import torch

from msa.heads.base import Dims
from msa.heads.registry import build_head
from msa.pipeline.fused.skeleton import copy_of, own_buffers, parameter_names


def test_a_copy_of_a_row_of_a_stack_is_no_copy_of_the_stack() -> None:
    head = build_head("concat", Dims(6, 4, 3), hidden=8, dropout=0.3, seed=0)
    for parameter in head.parameters():
        parameter.data = torch.stack([parameter.detach()] * 5)[2]
    copied = copy_of(head)
    for name, parameter in copied.named_parameters():
        own = head.get_parameter(name)
        assert torch.equal(parameter, own)
        assert parameter.requires_grad
        assert parameter.untyped_storage().nbytes() == parameter.nbytes < own.untyped_storage().nbytes()
    next(copied.parameters()).data.add_(1)
    assert not torch.equal(next(copied.parameters()), next(head.parameters()))


def test_parameters_are_named_matrices_first() -> None:
    head = build_head("concat", Dims(6, 4, 3), hidden=8, dropout=0.3, seed=0)
    dimensions = [head.get_parameter(name).ndim for name in parameter_names(head)]
    assert sorted(parameter_names(head)) == sorted(name for name, _ in head.named_parameters())
    assert dimensions == sorted(dimensions, reverse=True)


def test_buffers_in_which_heads_differ_are_stacked() -> None:
    heads = [build_head("concat", Dims(6, 4, 3), hidden=8, dropout=rate, seed=0) for rate in (0.1, 0.5)]
    differing = own_buffers(heads)
    assert differing
    assert all(name.endswith(".rate") for name in differing)
    assert all(torch.equal(rates, torch.tensor([0.1, 0.5])) for rates in differing.values())
    assert own_buffers(heads[:1] * 2) == {}
