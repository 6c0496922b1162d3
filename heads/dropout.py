"""Dropout with a mask computed from a key, so that a head trains the same alone and beside other heads."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

# Odd multipliers, one per axis from the first, so that the index of an element does not depend on padding.
STRIDES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F)


class Dropout(nn.Module):
    """Zero elements with probability `p` in training and scale the rest by 1 / (1 - p).

    Srivastava et al., 2014. The mask is a hash of the key and the element's index instead of a random draw, so it is
    the same under `torch.func.vmap`, with padding, and on any device. `key` and `rate` are buffers, so that stacked
    heads may differ in both; set all keys before each step with `set_dropout`. Use a layer once per forward pass: a
    second time it would drop the same elements. Tensors have up to four axes.
    """

    key: Tensor
    rate: Tensor

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.register_buffer("key", torch.zeros((), dtype=torch.int32), persistent=False)
        self.register_buffer("rate", torch.tensor(p, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map x to a tensor of its shape."""
        if not self.training or not self.p:
            return x
        number = self.key
        for axis, size in enumerate(x.shape):
            along = torch.arange(size, dtype=torch.int32, device=x.device) * _signed(STRIDES[axis])
            number = number + along.reshape(-1, *[1] * (x.ndim - 1 - axis))
        # Elements at 0 or below are dropped; 256, the resolution of float32 near 2**31, keeps all of them at rate 0.
        # No comparison, since torch does not vectorise arithmetic with booleans, and this runs at every step.
        above = _mix(number).float() - (self.rate * 2.0**32 - (2.0**31 + 256))
        return x * (above.clamp(0, 1) / (1 - self.rate)).to(x.dtype)


def dropouts(module: nn.Module) -> list[Dropout]:
    """Every Dropout of a module in the order of definition; its index in this list is part of its keys."""
    return [layer for layer in module.modules() if isinstance(layer, Dropout)]


def dropout_key(seed: int, step: int, layer: int) -> int:
    """The key (signed 32-bit integer) of one layer in one training step with this seed."""
    digest = hashlib.blake2b(f"{seed},{step},{layer}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little", signed=True)


def set_dropout(module: nn.Module, *, seed: int, step: int) -> None:
    """Set the key of every Dropout in the module to that of this step."""
    for number, layer in enumerate(dropouts(module)):
        layer.key.fill_(dropout_key(seed, step, number))


def _mix(x: Tensor) -> Tensor:
    """Hash int32 to int32 by multiply and xor-shift; the upper bits of the result depend on every bit of x."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * _signed(0x7FEB352D)
    return (x ^ ((x >> 15) & 0x1FFFF)) * _signed(0x846CA68B)


def _signed(number: int) -> int:
    return number - 2**32 if number >= 2**31 else number
