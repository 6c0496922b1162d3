"""Ragged tokens: sequences keep their vectors when they are chosen, spread and padded, and share what is the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from padded_inputs import padded, ragged

from msa.heads.base import Inputs
from msa.pipeline.data.ragged import Ragged, choose
from msa.pipeline.data.ragged_inputs import DrawnSide, RaggedInputs, RaggedSide, Section

LENGTHS = [3, 0, 1, 5]


def rows(dtype: str = "float16") -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.normal(size=(length, 4)).astype(dtype) for length in LENGTHS]


def test_sequences_are_stored_without_padding_and_in_their_own_format() -> None:
    found = Ragged.of([*rows()[:1], None, *rows()[2:]], width=4, dtype=np.float16)
    assert (found.values.shape, found.values.dtype, found.longest) == ((9, 4), np.float16, 5)
    for number, row in enumerate(rows()):
        np.testing.assert_array_equal(found.row(number), row)
    np.testing.assert_array_equal(found.values[found.indices()], np.concatenate(rows()))
    mask = np.arange(6) < np.array(LENGTHS)[:, None]
    same = Ragged.of_padded(np.where(mask[..., None], 1.0, np.nan), mask)
    assert (same.lengths.tolist(), same.longest, np.isnan(same.values).any()) == (LENGTHS, 6, False)


def test_a_selection_shares_the_vectors_and_minus_one_is_an_empty_sequence() -> None:
    found = Ragged.of(rows(), width=4, dtype=np.float16)
    spread = found.spread(np.array([3, -1, 0, 3]))
    assert spread.values is found.values
    assert spread.lengths.tolist() == [5, 0, 3, 5]
    np.testing.assert_array_equal(spread.row(3), rows()[3])
    np.testing.assert_array_equal(found[np.array([2])].values[found[np.array([2])].indices()], rows()[2])
    assert Ragged.of([None], width=4, dtype=np.float32).spread(np.array([-1])).row(0).shape == (0, 4)


def test_sequences_of_two_sources_are_chosen_post_by_post() -> None:
    one, other = Ragged.of(rows(), width=4, dtype=np.float16), Ragged.of(rows()[::-1], width=4, dtype=np.float32)
    mixed = choose(np.array([True, False, False, True]), one, other)
    assert mixed.values.dtype == np.float16
    for number, row in enumerate([rows()[0], rows()[2], rows()[1], rows()[3]]):
        np.testing.assert_array_equal(mixed.row(number), row)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_found_at_its_sequence(value: float) -> None:
    found = Ragged.of(rows(), width=4, dtype=np.float16)
    assert found.finite().all()
    found.row(3)[4, 1] = value
    assert found.finite().tolist() == [True, True, True, False]
    assert found.spread(np.array([3, -1, 0])).finite().tolist() == [False, True, True]


def posts() -> Inputs:
    draw = torch.Generator().manual_seed(0)
    mask = torch.arange(6) < torch.tensor([1, 3, 0, 6, 2])[:, None]
    return Inputs(torch.randn(5, 6, 3, generator=draw), mask, torch.randn(5, 6, 2, generator=draw), mask.flip(0))


def test_a_batch_is_padded_to_its_longest_post() -> None:
    whole = posts()
    for numbers, longest in (([0, 1], 3), ([2], 1), ([3, 2], 6), ([], 1)):
        taken = ragged(whole).take(torch.tensor(numbers, dtype=torch.long))
        mask = whole.image_mask[numbers, :longest]
        assert torch.equal(taken.image_mask, mask)
        assert torch.equal(taken.image[mask], whole.image[numbers, :longest][mask])
    assert padded(ragged(whole)).text.shape == (5, 6, 2)
    assert torch.equal(ragged(whole).pooled().text_mask, whole.text_mask[:, :1])
    assert not ragged(whole).image.hidden().take(torch.arange(5))[1].any()
    assert padded(ragged(whole).select(torch.tensor([3, 1]))).image_mask.sum(1).tolist() == [6, 3]


def test_sections_stand_where_every_post_has_them() -> None:
    one = Section(torch.ones(2, 3), None, torch.tensor([1, 1]), 1)
    two = Section(torch.full((3, 2), 2.0).half(), torch.tensor([0, 1]), torch.tensor([1, 2]), 2)
    three = Section(torch.full((1, 3), 3.0), torch.tensor([0, 0]), torch.tensor([1, 0]), 4)
    side = RaggedSide((one, two, three))
    assert (side.width, side.longest, side.lengths.tolist()) == (3, 7, [3, 3])
    vectors, mask = side.take(torch.tensor([0, 1]))
    assert mask.tolist() == [[True, True, False, True], [True, True, True, False]]
    assert vectors.dtype == torch.float32
    assert vectors[mask].tolist() == [[1, 1, 1], [2, 2, 0], [3, 3, 3], [1, 1, 1], [2, 2, 0], [2, 2, 0]]
    assert side.take(torch.tensor([1]))[0].shape == (1, 3, 3)


def test_drawn_posts_show_their_view() -> None:
    whole = posts()
    plain, view = ragged(whole).image, ragged(whole._replace(image=-whole.image)).image
    drawn = DrawnSide(plain.sections, (view,), torch.tensor([0, 1, 0, 1, 0]))
    inputs = RaggedInputs(drawn, ragged(whole).text)
    taken = inputs.take(torch.tensor([1, 0]))
    assert torch.equal(taken.image[taken.image_mask], torch.cat([-whole.image[1, :3], whole.image[0, :1]]))
