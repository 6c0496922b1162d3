"""First layers are found by what they read, and what they are taken out for comes out the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from msa.heads.base import Dims, Inputs
from msa.heads.dropout import Dropout
from msa.heads.registry import HEADS, build_head
from msa.pipeline.fused.first_layers import FirstLayers

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
        mixed = self.plain(image) + self.dropped(self.drop(image)) + self.scaled(image * self.scale)
        total: Tensor = mixed + self.shared(self.twice(text)) + self.shared(mixed) + self.twice(text + 0)
        return total


def test_layers_of_shared_vectors_are_found_and_no_others() -> None:
    assert FirstLayers(Net(), batch()).names == ["twice", "plain"]


def test_layers_of_tokens_are_none() -> None:
    assert FirstLayers(Net(), batch(positions=3)).names == []


def test_a_module_with_given_products_is_the_module_itself() -> None:
    net, given = Net(), batch()
    first = FirstLayers(net, given)
    read = first.inputs(given)
    for name, x in zip(first.names, read, strict=True):
        product = x @ getattr(net, name).weight.detach().T
        first.rest.get_submodule(name).product = product.requires_grad_()
    net(given).square().sum().backward()
    output = first.rest(given)
    torch.testing.assert_close(output, net(given))
    output.square().sum().backward()
    for name, x in zip(first.names, read, strict=True):
        slope: Tensor = first.rest.get_submodule(name).product.grad  # type: ignore[union-attr, assignment]
        torch.testing.assert_close(slope.t() @ x, getattr(net, name).weight.grad)


def test_a_weight_that_is_read_elsewhere_raises() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(IMAGE, H)

        def forward(self, inputs: Inputs) -> Tensor:
            output: Tensor = self.map(inputs.image) @ self.map.weight
            return output

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
    assert set(reads) <= set(found)
