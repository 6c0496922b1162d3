"""Posts that a classifier can learn: three classes, one seen in the image, one in the text, some posts lack either."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import torch
from head_inputs import DIMS, without
from torch import Tensor

from msa.heads.base import Head, Inputs
from msa.heads.registry import ESTIMATORS, build_head, head_info

ROWS = torch.arange(60)  # training rows
TABICL = "estimator:tabicl.TabICLClassifier"
LEARNING = [name for name in ESTIMATORS if name != TABICL]  # TabICL has random weights here, which predict nothing

# Options that make fitting fast.
SMALL: dict[str, int | float] = {
    **{"max_iter": 20, "n_estimators": 10, "n_neighbors": 5},
    **{"n_epochs": 20, "patience": 20, "lr": 0.04, "hidden_width": 32, "batch_size": 32, "tabm_k": 4, "d_block": 32},
}


def small_options(name: str) -> dict[str, int | float | str]:
    """Options with which a classifier is fitted in moments: few trees, iterations or weights."""
    if name == TABICL:
        return {"n_estimators": 2, "model_path": str(write_tabicl(_folder() / "tabicl.ckpt"))}
    return {key: value for key, value in SMALL.items() if key in head_info(name).options}


def build_small(name: str, seed: int = 0, **options: int | float | str) -> Head:
    """The head of a classifier, with its small options."""
    return build_head(name, DIMS, seed=seed, **(small_options(name) | options)).eval()


@cache
def write_tabicl(path: Path, seed: int = 0) -> Path:
    """Write weights of a tiny TabICL, drawn at random, as its authors publish theirs."""
    from tabicl._model.tabicl import TabICL

    blocks = {"col_num_blocks": 1, "row_num_blocks": 1, "icl_num_blocks": 1}
    config = {"embed_dim": 8, "col_nhead": 2, "col_num_inds": 4, "row_nhead": 2, "row_num_cls": 2, "icl_nhead": 2}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = TabICL(**config, **blocks, zero_init=False)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    torch.save({"config": config | blocks, "state_dict": network.state_dict()}, path)
    return path


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp())


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
