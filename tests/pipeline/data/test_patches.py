"""Coarse maps of patches are averages of the encoder's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from msa.pipeline.data.patches import coarsen


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("grid", [(4, 4), (2, 3), (1, 1), (7, 7)])
def test_coarse_patches_are_adaptive_averages_of_the_map(grid: tuple[int, int], extra: int) -> None:
    tokens = np.random.default_rng(0).normal(size=(49 + extra, 5)).astype(np.float32)
    image = torch.from_numpy(tokens[extra:]).reshape(7, 7, 5).permute(2, 0, 1)
    expected = torch.nn.functional.adaptive_avg_pool2d(image, grid).flatten(1).T.numpy()
    np.testing.assert_allclose(coarsen(tokens, grid), expected, atol=1e-6)


@pytest.mark.parametrize(("count", "grid", "message"), [(9, (4, 4), "finer"), (12, (2, 2), "no square map")])
def test_grids_that_do_not_fit_are_refused(count: int, grid: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        coarsen(np.zeros((count, 3), np.float32), grid)
