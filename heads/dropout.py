"""Dropout whose mask is a function of a key, so that a head's training does not depend on what trains beside it."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

# Odd multipliers, one per axis from the first: an element's number does not depend on how far its batch is padded.
STRIDES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F)


class Dropout(nn.Module):
    """Zero elements with probability `p` in training and scale the rest by 1 / (1 - p).

    Which ones is a hash of (key, place of the element), not a draw from a generator: the same under
    `torch.func.vmap`, alone, padded, and on any device. `key` and `rate` are buffers, so that stacked heads may
    differ in both; set the keys of all layers before each step with `set_dropout`. Use a
    layer once in a forward pass: a second time it would drop the same places. Tensors have up to four axes.
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
        # A whole number; 0 and below is dropped, which a rate of 0 never is: 256 is what float32 tells apart out there.
        # Not by a comparison, since torch vectorises no arithmetic with truth values, and this is run at every step.
        above = _mix(number).float() - (self.rate * 2.0**32 - (2.0**31 + 256))
        return x * (above.clamp(0, 1) / (1 - self.rate)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def dropouts(module: nn.Module) -> list[Dropout]:
    """Every Dropout in a module, in the order of its definition: a layer's place in this list salts its keys."""
    return [layer for layer in module.modules() if isinstance(layer, Dropout)]


def dropout_key(seed: int, step: int, layer: int) -> int:
    """The key (signed 32 bits) of one layer in one step of the training with this seed."""
    digest = hashlib.blake2b(f"{seed},{step},{layer}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little", signed=True)


def set_dropout(module: nn.Module, *, seed: int, step: int) -> None:
    """Give every Dropout in the module the key of this step."""
    for number, layer in enumerate(dropouts(module)):
        layer.key.fill_(dropout_key(seed, step, number))


def _mix(x: Tensor) -> Tensor:
    """Hash int32 to int32 by multiply and xor-shift; the upper bits of the result depend on every bit of x."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * _signed(0x7FEB352D)
    return (x ^ ((x >> 15) & 0x1FFFF)) * _signed(0x846CA68B)


def _signed(number: int) -> int:
    return number - 2**32 if number >= 2**31 else number
