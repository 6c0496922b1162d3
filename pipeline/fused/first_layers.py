"""The first layers of fused heads, multiplied head by head: weights, gradients and moments stay in the cache.

They hold nearly all weights of a head on pooled vectors. Done for all heads at once, memory would take longer than the
arithmetic.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...heads.base import Inputs


class GivenProduct(nn.Module):
    """Replaces a first layer: adds the bias to a product (n, H) that is set as a buffer.

    It has no weight, so code that reads the weight elsewhere raises, and does not miss a gradient.
    """

    product: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.bias = layer.bias
        self.register_buffer("product", layer.weight.new_empty(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (…, D), of n vectors, to (…, H)."""
        product = self.product.view(*x.shape[:-1], self.product.shape[-1])
        return product if self.bias is None else product + self.bias


class FirstLayers:
    """The first layers of a module: linear maps of one vector a post that depends on no parameter and no buffer.

    They are found by running the module on one `batch`. `names` are their names, `rest` is the module without them. On
    a GPU there are none: it has no such cache, and each launch costs more than it would save.
    """

    def __init__(self, module: nn.Module, batch: Inputs) -> None:
        self.module = module
        self.names = _find(module, batch) if batch.text.device.type == "cpu" else []
        self.rest = copy.deepcopy(module)
        for name in self.names:
            layer = self.rest.get_submodule(name)
            self.rest.set_submodule(name, GivenProduct(layer))  # type: ignore[arg-type]

    def inputs(self, batch: Inputs) -> list[Tensor]:
        """The input (n, D) of each layer for a batch."""
        with torch.no_grad(), _recorded_inputs(self.module, self.names) as inputs:
            self.module(batch)
        return [inputs[name][0].flatten(0, -2) for name in self.names]


def _find(module: nn.Module, batch: Inputs) -> list[str]:
    """The linear maps that always read the same vectors, one a post, that depend on no parameter and no buffer."""
    named = dict(module.named_parameters()) | dict(module.named_buffers())
    tracked = {name: tensor.detach().requires_grad_() for name, tensor in named.items() if tensor.is_floating_point()}
    linears = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    with _recorded_inputs(module, linears) as inputs:
        functional_call(module, tracked, (batch,))

    def shared(first: Tensor, *others: Tensor) -> bool:
        one_a_post = first[..., 0].numel() == len(batch.text)
        return one_a_post and not first.requires_grad and all(torch.equal(x, first) for x in others)

    return [name for name in linears if name in inputs and shared(*inputs[name])]


@contextmanager
def _recorded_inputs(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Inside, the inputs of each of these layers are recorded by its name."""
    inputs: dict[str, list[Tensor]] = defaultdict(list)

    def record(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, arguments: inputs[name].append(arguments[0])

    with ExitStack() as hooks:
        for name in names:
            hooks.callback(module.get_submodule(name).register_forward_pre_hook(record(name)).remove)
        yield inputs
