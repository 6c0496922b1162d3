"""Linear maps of fused heads: one product of matrices where all heads read the same vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class SharedLinear(nn.Linear):
    """An nn.Linear for `torch.func.vmap` over stacked weights: the same numbers, several times as fast.

    Plain vmap makes C products of shared vectors (n, D) with C weights (H, D), and their gradients copy the vectors
    C times; laid side by side, the weights (C * H, D) need one product, forward and backward.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map x (…, D) to (…, H)."""
        return _Linear.apply(x, self.weight, self.bias)  # type: ignore[no-any-return]


def share_linears(module: nn.Module) -> None:
    """Make every nn.Linear in the module a SharedLinear, in place."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = SharedLinear


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return nn.functional.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Gradients where nothing is stacked."""
        x, weight = ctx.saved_tensors
        flat, given = x.flatten(0, -2), grads[0].flatten(0, -2)  # (n, D), (n, H)
        return grads[0] @ weight, given.T @ flat, given.sum(0)

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:
        """The map of C heads (C, …, H), made of operations that know their own gradients."""
        count = info.batch_size
        weights = weight.movedim(in_dims[1], 0) if in_dims[1] is not None else weight.expand(count, *weight.shape)
        if in_dims[0] is None:
            side = (x.flatten(0, -2) @ weights.flatten(0, 1).T).view(-1, count, weights.shape[1])  # (n, C, H)
            product = side.transpose(0, 1).reshape(count, *x.shape[:-1], weights.shape[1])  # (C, …, H)
        else:
            stacked = x.movedim(in_dims[0], 0)  # (C, …, D)
            product = _Stacked.apply(stacked.flatten(1, -2), weights).view(*stacked.shape[:-1], weights.shape[1])
        if bias is None:
            return product, 0
        biases = bias.movedim(in_dims[2], 0) if in_dims[2] is not None else bias.expand(count, *bias.shape)
        return product + biases.reshape(count, *[1] * (product.ndim - 2), -1), 0


class _Stacked(torch.autograd.Function):
    """C vectors' maps by a weight each: (C, n, D) and (C, H, D) to (C, n, H)."""

    @staticmethod
    def forward(x: Tensor, weights: Tensor) -> Tensor:
        return x @ weights.transpose(1, 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Gradients laid out as their tensors are; torch's own, by the transposed weights, have to be copied."""
        x, weights = ctx.saved_tensors
        return grads[0] @ weights, grads[0].transpose(1, 2) @ x
