"""Gradients of fused heads are clipped as torch clips those of each head."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from msa.pipeline.fused.stack import clip_gradients

C, N, D, H = 3, 5, 6, 4


@pytest.mark.parametrize("clip", [0.5, 3.0, float("inf")])
def test_each_head_is_clipped_by_its_own_norm(clip: float) -> None:
    draw = torch.Generator().manual_seed(0)
    gradient = torch.randn(C, 7, 2, generator=draw)
    slopes, x = torch.randn(C, N, H, generator=draw) * torch.tensor([0.01, 1, 10]).view(C, 1, 1), torch.randn(N, D)
    clipped, scaled = clip_gradients([gradient], [slopes], [x], torch.full((C,), clip))
    for head in range(C):
        parameters = [nn.Parameter(torch.zeros(7, 2)), nn.Parameter(torch.zeros(H, D))]
        parameters[0].grad, parameters[1].grad = gradient[head].clone(), slopes[head].T @ x
        nn.utils.clip_grad_norm_(parameters, clip)
        torch.testing.assert_close(clipped[head], parameters[0].grad)
        torch.testing.assert_close(scaled[head].T @ x, parameters[1].grad)
