"""The first layers of fused heads, head by head: a weight is read, moved and read again while the cache has it.

The layers that read the shared inputs hold nearly all weights of a head on pooled vectors. Multiplied for all heads at
once, weights, gradients and moments would each come from memory several times a step, which takes longer than the
arithmetic. So a fused step begins with the products of these layers, and ends with the gradients by them; what is left
is done for one head after another: the gradient by its weights, the optimiser, the product with the next batch.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..heads.base import Inputs


class Given(nn.Module):
    """Stands where a first layer stood: adds the bias to a product (n, H) that it is given as a buffer.

    It has no weight: whatever reads that elsewhere fails, and is not left without a gradient.
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
    """The first layers of a module: linear maps whose input no parameter and no buffer has a part in.

    They are found by running it on one `batch`. `names` are theirs, `rest` is the module without them. On a GPU there
    are none: it has no such cache, and each launch costs more than it would save.
    """

    def __init__(self, module: nn.Module, batch: Inputs) -> None:
        self.module = module
        self.names = _find(module, batch) if batch.text.device.type == "cpu" else []
        self.rest = copy.deepcopy(module)
        for name in self.names:
            self.rest.set_submodule(name, Given(self.rest.get_submodule(name)))  # type: ignore[arg-type]

    def inputs(self, batch: Inputs) -> list[Tensor]:
        """What each layer reads of a batch: (n, D)."""
        with torch.no_grad(), _listening(self.module, self.names) as heard:
            self.module(batch)
        return [heard[name][0].flatten(0, -2) for name in self.names]


class Weights:
    """The first layers' weights of C heads, each (C, H, D), ready to be read head by head.

    There is room for one head's gradients: they are to be used before those of the next are computed.
    """

    def __init__(self, stacked: Sequence[Tensor], heads: int) -> None:
        sizes = [weight[0].numel() for weight in stacked]
        self.stacked = stacked
        self.transposed = by_head([weight.transpose(1, 2) for weight in stacked], heads)
        self.room = stacked[0].new_empty(sum(sizes)) if stacked else torch.empty(0)
        parts = zip(torch.split(self.room, sizes), stacked, strict=True)
        self.gradients = [part.view(weight.shape[1:]) for part, weight in parts]  # each (H, D)

    def products(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Room for the products (C, n, H) of these inputs (n, D) with the weights of all heads."""
        return [x.new_empty(len(w), len(x), w.shape[1]) for x, w in zip(inputs, self.stacked, strict=True)]

    def multiply(self, place: int, inputs: Sequence[Tensor], products: Sequence[Tensor]) -> None:
        """Set one head's products (n, H) of inputs (n, D)."""
        for x, weight, product in zip(inputs, self.transposed[place], products, strict=True):
            torch.mm(x, weight, out=product)

    def differentiate(self, inputs: Sequence[Tensor], slopes: Sequence[Tensor]) -> float:
        """Set the gradients from one head's by its products, transposed (H, n); return the square of their norm."""
        for x, slope, gradient in zip(inputs, slopes, self.gradients, strict=True):
            torch.mm(slope, x, out=gradient)
        return float(torch.dot(self.room, self.room))


def by_head(stacked: Sequence[Tensor], heads: int) -> list[tuple[Tensor, ...]]:
    """Tensors (C, …) as each head's own parts of them."""
    return list(zip(*(part.unbind() for part in stacked), strict=True)) or [()] * heads


def _find(module: nn.Module, batch: Inputs) -> list[str]:
    """The linear maps that always read the same vectors, in which no parameter and no buffer has a part."""
    named = dict(module.named_parameters()) | dict(module.named_buffers())
    tracked = {name: tensor.detach().requires_grad_() for name, tensor in named.items() if tensor.is_floating_point()}
    linears = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    with _listening(module, linears) as heard:
        functional_call(module, tracked, (batch,))

    def shared(first: Tensor, *others: Tensor) -> bool:
        return not first.requires_grad and all(torch.equal(x, first) for x in others)

    return [name for name in linears if name in heard and shared(*heard[name])]


@contextmanager
def _listening(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Inside, what each of these layers reads is noted under its name."""
    heard: dict[str, list[Tensor]] = defaultdict(list)

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, given: heard[name].append(given[0])

    with ExitStack() as hooks:
        for name in names:
            hooks.callback(module.get_submodule(name).register_forward_pre_hook(note(name)).remove)
        yield heard
