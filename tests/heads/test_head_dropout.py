"""Keyed dropout: its rate, what its mask depends on, and what it leaves unchanged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from msa.heads.block import FeatureDropout
from msa.heads.dropout import Dropout, dropout_key, dropouts, set_dropout

KINDS = [Dropout, FeatureDropout]


def kept(shape: tuple[int, ...], *, p: float = 0.5, seed: int = 0, step: int = 0) -> Tensor:
    """The elements that one step keeps."""
    layer = Dropout(p)
    set_dropout(layer, seed=seed, step=step)
    mask: Tensor = layer(torch.ones(shape)) > 0
    return mask


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten().float(), b.flatten().float()]))[0, 1])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(200_000,), (400, 500), (40, 50, 100), (20, 10, 20, 50)])
def test_the_share_dropped_is_the_rate_and_the_mean_stays(p: float, shape: tuple[int, ...]) -> None:
    layer = Dropout(p)
    set_dropout(layer, seed=3, step=4)
    out = layer(torch.ones(shape))
    error = 5 * (p * (1 - p) / 200_000) ** 0.5  # five standard deviations
    assert float((out == 0).float().mean()) == pytest.approx(p, abs=error)
    torch.testing.assert_close(out[out > 0], torch.full_like(out[out > 0], 1 / (1 - p)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_no_row_column_or_slice_is_dropped_more_than_another(axis: int) -> None:
    mask = kept((60, 60, 60))
    shares = mask.float().mean(dim=[other for other in range(3) if other != axis])  # 3600 elements each
    assert float((shares - 0.5).abs().max()) < 5 * 0.5 / 60
    neighbours = correlation(mask.narrow(axis, 0, 59), mask.narrow(axis, 1, 59))
    assert abs(neighbours) < 0.015


def test_steps_seeds_and_layers_are_independent() -> None:
    masks = [kept((300, 300), seed=seed, step=step) for seed, step in itertools.product(range(3), range(3))]
    two = nn.Sequential(Dropout(0.5), Dropout(0.5))
    set_dropout(two, seed=0, step=0)
    masks.append(two[1](torch.ones(300, 300)) > 0)
    for a, b in itertools.combinations(masks, 2):
        assert abs(correlation(a, b)) < 0.02  # six standard deviations
    assert torch.equal(kept((300, 300), seed=1, step=2), masks[5])


def test_keys_differ() -> None:
    keys = {dropout_key(*place) for place in itertools.product(range(20), range(20), range(20))}
    assert len(keys) > 7990  # 8000 of 2 ** 32: a collision or two may happen


def test_padding_changes_no_element() -> None:
    for shape in [(4,), (4, 6), (4, 6, 5), (4, 6, 5, 3)]:
        larger = tuple(size + 3 for size in shape)
        assert torch.equal(kept(larger)[tuple(slice(size) for size in shape)], kept(shape))


def test_whole_features_are_dropped_where_sequences_are_joined() -> None:
    layer = FeatureDropout(0.5)
    set_dropout(layer, seed=0, step=1)
    out = layer(torch.ones(50, 7, 60))
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert float((out == 0).float().mean()) == pytest.approx(0.5, abs=0.05)
    assert torch.equal(layer(torch.ones(50, 9, 60))[:, :7], out)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_identity_in_evaluation_and_at_rate_zero(kind: type[Dropout]) -> None:
    x = torch.randn(3, 4, 5)
    assert torch.equal(kind(0.5).eval()(x), x)
    assert torch.equal(kind(0.0)(x), x)


@pytest.mark.parametrize("kind", KINDS)
def test_the_global_generator_is_neither_read_nor_moved(kind: type[Dropout]) -> None:
    layer = kind(0.5)
    torch.manual_seed(1)
    first, state = layer(torch.ones(8, 8, 8)), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(layer(torch.ones(8, 8, 8)), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_dropped_with_the_element(kind: type[Dropout]) -> None:
    x = torch.randn(5, 6, 7, requires_grad=True)
    layer = kind(0.4)
    out = layer(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad * x, out)  # type: ignore[operator]


@pytest.mark.parametrize("kind", KINDS)
def test_stacked_layers_may_differ_in_key_and_rate(kind: type[Dropout]) -> None:
    layers = [kind(p) for p in (0.2, 0.5, 0.8)]
    for seed, layer in enumerate(layers):
        set_dropout(layer, seed=seed, step=7)
    _, buffers = stack_module_state(layers)  # type: ignore[arg-type]
    x = torch.randn(4, 5, 6)
    together = vmap(lambda own: functional_call(layers[0], own, (x,)))(buffers)
    assert torch.equal(together, torch.stack([layer(x) for layer in layers]))


def test_every_layer_of_a_module_is_found_in_order() -> None:
    first, second = Dropout(0.1), FeatureDropout(0.2)
    assert dropouts(nn.ModuleDict({"a": first, "b": nn.Sequential(nn.Linear(2, 2), second)})) == [first, second]
    assert not first.state_dict()


def test_a_rate_of_0_drops_not_even_the_smallest_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of heads that train together some may have a rate of 0; their layers compute a mask all the same."""
    layer = Dropout(0.0)
    layer.p = 1.0
    least = -(2**31)
    monkeypatch.setattr("msa.heads.dropout._mix", lambda number: torch.full_like(number, least))
    x = torch.randn(3, 4)
    assert torch.equal(layer(x), x)
    layer.rate.fill_(1e-6)
    assert not layer(x).any()
