"""Posts that a classifier can learn: three classes, one seen in the image, one in the text, some posts lack either."""

from __future__ import annotations

import torch
from head_inputs import DIMS, without
from torch import Tensor

from msa.heads.base import Head, Inputs
from msa.heads.registry import build_head

SMALL = {"max_iter": 20, "n_estimators": 10, "n_neighbors": 5}  # options that make fitting fast
ROWS = torch.arange(60)  # training rows


def build_small(name: str, seed: int = 0, **options: int | float | str) -> Head:
    """The head of a classifier, with few trees or iterations."""
    from msa.heads.registry import head_info

    own = {key: value for key, value in SMALL.items() if key in head_info(name).options}
    return build_head(name, DIMS, seed=seed, **(own | options)).eval()


def learnable(rows: int = 90) -> tuple[Inputs, Tensor]:
    """Inputs of pooled vectors, and labels (rows,)."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % 3
    image, text = torch.randn(rows, 1, DIMS.image, generator=draw), torch.randn(rows, 1, DIMS.text, generator=draw)
    image[labels == 0, :, :4] += 3
    text[labels == 1, :, :4] += 3
    mask = torch.ones(rows, 1, dtype=torch.bool)
    inputs = Inputs(5 * image + 2, mask, text, mask)
    return without(inputs, image=list(range(4, rows, 20)), text=list(range(8, rows, 20))), labels
