"""The first layers of fused heads, head by head: a weight is read, moved and read again while the cache has it.

The layers that read the shared inputs hold nearly all weights of a head on pooled vectors. Multiplied for all heads at
once, weights, gradients and moments would each come from memory several times a step, which takes longer than the
arithmetic. So a fused step begins with the products of these layers, and ends with the gradients by them; what is left
is done for one head after another: the gradient by its weights, the optimizer, the product with the next batch.
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
    """The first layers of a module: linear maps of one vector a post in which no parameter and no buffer has a part.

    They are found by running it on one `batch`. `names` are theirs, the largest last; `rest` is the module without
    them. On a GPU there are none: it has no such cache, and each launch costs more than it would save.
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


class FirstLayer:
    """One first layer of C heads, of a weight (H, D) each, which are read head by head.

    `keeps` gradients: there is room for those of all heads. Else there is for one, to be used before the next is
    computed.
    """

    def __init__(self, weights: Sequence[Tensor], *, keeps: bool = False) -> None:
        self.transposed = [weight.T for weight in weights]
        rooms = [torch.empty_like(weight) for weight in weights[: len(weights) if keeps else 1]]
        self.gradients = rooms if keeps else rooms * len(weights)

    def room(self, x: Tensor) -> Tensor:
        """Room for the products (C, n, H) of vectors x (n, D) with all weights."""
        return x.new_empty(len(self.transposed), len(x), self.transposed[0].shape[1])

    def products(self, x: Tensor) -> Tensor:
        """The products (C, n, H) of vectors x (n, D) with all weights."""
        products = self.room(x)
        for head, product in enumerate(products.unbind()):
            self.multiply(head, x, product)
        return products

    def multiply(self, head: int, x: Tensor, product: Tensor) -> None:
        """Set one head's product (n, H) of vectors x (n, D)."""
        torch.mm(x, self.transposed[head], out=product)

    def differentiate(self, head: int, slope: Tensor, x: Tensor) -> float:
        """Set a head's gradient (H, D) from that by its product, transposed (H, n), of x (n, D); its squared norm."""
        gradient = self.gradients[head]
        torch.mm(slope, x, out=gradient)
        flat = gradient.view(-1)
        return float(torch.dot(flat, flat))


def _find(module: nn.Module, batch: Inputs) -> list[str]:
    """The linear maps that always read the same vectors, one a post, in which no parameter and no buffer has a part."""
    named = dict(module.named_parameters()) | dict(module.named_buffers())
    tracked = {name: tensor.detach().requires_grad_() for name, tensor in named.items() if tensor.is_floating_point()}
    linears = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    with _listening(module, linears) as heard:
        functional_call(module, tracked, (batch,))

    def shared(first: Tensor, *others: Tensor) -> bool:
        one_a_post = first[..., 0].numel() == len(batch.text)
        return one_a_post and not first.requires_grad and all(torch.equal(x, first) for x in others)

    found = [name for name in linears if name in heard and shared(*heard[name])]
    return sorted(found, key=lambda name: named[f"{name}.weight"].numel())


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
