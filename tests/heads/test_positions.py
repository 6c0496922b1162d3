"""Position vectors: their values, the pooled position without one, and their maximum length."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from msa.heads.positions import LONGEST, PositionKind, Positions, sinusoids


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def test_sinusoids_are_those_of_the_paper() -> None:
    table = sinusoids(7, 6)
    for position in range(7):
        for pair in range(3):
            angle = position / 10_000 ** (2 * pair / 6)
            assert table[position, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[position, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-5)
    assert sinusoids(4, 5).shape == (4, 5)


@pytest.mark.parametrize("kind", ["none", "sinusoidal", "learned"])
def test_the_pooled_position_has_no_position_vector(kind: PositionKind) -> None:
    positions = Positions(kind, 8)
    tokens = torch.randn(3, 5, 8)
    encoded = positions(tokens)
    assert torch.equal(encoded[:, 0], tokens[:, 0])
    torch.testing.assert_close(encoded - tokens, positions.vectors(tokens).expand_as(tokens))
    moved = (encoded != tokens).any(-1)
    assert not moved[:, 0].any()
    assert bool(moved[:, 1:].all()) is (kind != "none")
    assert torch.equal(positions(tokens[:, :1]), tokens[:, :1])


def test_a_position_vector_does_not_depend_on_padding() -> None:
    for kind in ("sinusoidal", "learned"):
        positions = Positions(kind, 8)  # type: ignore[arg-type]
        assert torch.equal(positions.vectors(torch.zeros(1, 9, 8))[:5], positions.vectors(torch.zeros(1, 5, 8)))


def test_learned_positions_get_gradients_and_have_a_maximum_length() -> None:
    positions = Positions("learned", 4)
    positions(torch.zeros(1, LONGEST + 1, 4)).sum().backward()
    assert torch.equal(positions.table.grad, torch.ones(LONGEST, 4))  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=rf"reach {LONGEST} tokens, got {LONGEST + 1}; use positions sinusoidal"):
        positions(torch.zeros(1, LONGEST + 2, 4))
    assert Positions("sinusoidal", 4)(torch.zeros(1, LONGEST + 2, 4)).shape == (1, LONGEST + 2, 4)
