"""First layers are found by what they read, and what they are taken out for comes out the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from msa.heads.base import Dims, Inputs
from msa.heads.dropout import Dropout
from msa.heads.registry import HEADS, build_head
from msa.pipeline.first_layers import FirstLayers, Weights

B, IMAGE, TEXT, H = 5, 6, 4, 8


def batch(positions: int = 1, device: str = "cpu") -> Inputs:
    draw = torch.Generator().manual_seed(0)
    mask = torch.ones(B, positions, dtype=torch.bool)
    image, text = (torch.randn(B, positions, width, generator=draw) for width in (IMAGE, TEXT))
    return Inputs(*(tensor.to(device) for tensor in (image, mask, text, mask)))


class Net(nn.Module):
    """One layer of each kind: of the inputs, of dropped inputs, of a parameter, shared, and behind another."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(TEXT, H, bias=False)
        self.shared = nn.Linear(H, H)
        self.dropped = nn.Linear(IMAGE, H)
        self.drop = Dropout(0.5)
        self.scaled = nn.Linear(IMAGE, H)
        self.scale = nn.Parameter(torch.ones(IMAGE))
        self.plain = nn.Linear(IMAGE, H)
        self.unused = nn.Linear(IMAGE, H)

    def forward(self, inputs: Inputs) -> Tensor:
        image, text = inputs.image, inputs.text
        heard = self.plain(image) + self.dropped(self.drop(image)) + self.scaled(image * self.scale)
        total: Tensor = heard + self.shared(self.twice(text)) + self.shared(heard) + self.twice(text + 0)
        return total


def test_layers_of_shared_vectors_are_found_and_no_others() -> None:
    assert FirstLayers(Net(), batch()).names == ["twice", "plain"]


@pytest.mark.parametrize("positions", [1, 3])
def test_a_module_is_what_it_was_once_it_is_given_its_products(positions: int) -> None:
    net, given = Net(), batch(positions)
    first = FirstLayers(net, given)
    read = first.inputs(given)
    weights = Weights([getattr(net, name).weight.detach()[None] for name in first.names], 1)
    products = weights.products(read)
    weights.multiply(0, read, [product[0] for product in products])
    for name, product in zip(first.names, products, strict=True):
        first.rest.get_submodule(name).product = product[0].requires_grad_()
    net(given).square().sum().backward()
    said = first.rest(given)
    torch.testing.assert_close(said, net(given))
    said.square().sum().backward()
    slopes = [first.rest.get_submodule(name).product.grad.t() for name in first.names]  # type: ignore[union-attr, operator]
    square = weights.differentiate(read, slopes)
    wanted = [getattr(net, name).weight.grad for name in first.names]
    for gradient, expected in zip(weights.gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, expected)
    assert square == pytest.approx(sum(float(one.square().sum()) for one in wanted), rel=1e-4)


def test_a_weight_that_is_read_elsewhere_is_missed_aloud() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(IMAGE, H)

        def forward(self, inputs: Inputs) -> Tensor:
            said: Tensor = self.map(inputs.image) @ self.map.weight
            return said

    rest = FirstLayers(Tied(), batch()).rest
    rest.get_submodule("map").product = torch.zeros(B, H)
    with pytest.raises(AttributeError, match="weight"):
        rest(batch())


def test_there_are_none_off_the_cpu() -> None:
    assert FirstLayers(Net().to("meta"), batch(device="meta")).names == []


@pytest.mark.parametrize("name", sorted(set(HEADS) - {"kernel"}))
def test_every_head_on_pooled_vectors_has_them(name: str) -> None:
    head = build_head(name, Dims(IMAGE, TEXT, 3), hidden=H, dropout=0.3, seed=0).train()
    found = FirstLayers(head, batch()).names
    reads = [f"projections.{modality}.linear" for modality in head.reads]
    assert [layer for layer in found if layer in reads] == reads
