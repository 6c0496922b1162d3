"""Claim: halving on rungs that double chooses as well as on rungs that triple, for less training.

    python benchmarks/rungs.py --data DIR --cache DIR [--fusion concat] [--epochs 20] [--seed 1]

A grid of 8 learning rates x 8 weight decays x 4 dropout rates is trained to the end, and every setting is scored after
every epoch, on five inner folds: no row that a sweep of this seed would score is used (one of another seed may
score it). Each way of halving is then tried on that record, on the whole grid and on parts of it drawn at random: how
many points below the best of the part the setting lies that it chooses (regret), and how many epochs of a head it
trains for each setting and fold. The ratio is the regret of tripled rungs over that of doubled ones, over all sizes,
each with .05 points added.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
from common import DATA, check_target
from numpy.typing import NDArray
from sweep import DECAYS, DROPOUTS, FOLDS, HIDDEN, RATES, _list

from msa.features.posts.layouts import read_corpus
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.search_config import Search
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.sweeps import halving
from msa.pipeline.sweeps.space import read_space
from msa.pipeline.sweeps.sweep import sweep

N = 3  # one in so many goes on
SIZES, DRAWS = (256, 64, 32, 16), 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of posts")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="folder of cached embeddings")
    parser.add_argument("--fusion", default="concat", help="head on pooled vectors")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of a whole training")
    parser.add_argument("--seed", type=int, default=1, help="seed of split and training")
    given = parser.parse_args()
    values = record(given.data, given.cache, given.fusion, given.epochs, given.seed)
    tripled = [given.epochs // 9, given.epochs // 3, given.epochs]
    ways = {"tripled": (tripled, 1), "doubled": (halving.rungs_of(given.epochs, N), halving.FEWEST)}
    regrets: dict[str, list[float]] = {}
    for name, (rungs, fewest) in ways.items():
        print(f"{name}: rungs {rungs}, at least {fewest} go on")
        for size in SIZES:
            draw = np.random.default_rng(0)
            parts = [draw.choice(len(values), size, replace=False) for _ in range(DRAWS if size < len(values) else 1)]
            found = [choose(values, part, rungs, fewest) for part in parts]
            lost = [100 * (values[part, -1].max() - value) for part, (value, _) in zip(parts, found, strict=True)]
            cost = np.mean([epochs for _, epochs in found]) / size
            regrets.setdefault(name, []).append(float(np.mean(lost)))
            mean, high = np.mean(lost), np.quantile(lost, 0.95)
            print(f"  {size} settings: regret {mean:.2f} points, in one of 20 {high:.2f}; ", end="")
            print(f"{cost:.1f} epochs a setting and fold")
    before, after = (np.mean(regrets[name]) + 0.05 for name in ("tripled", "doubled"))
    check_target("regret of tripled rungs over that of doubled ones", float(before / after), 0.9)


def record(data: Path, cache: Path, fusion: str, epochs: int, seed: int) -> NDArray[np.float64]:
    """The mean accuracy on the inner folds of every setting after every epoch: (settings, epochs)."""
    space = read_space([f"lr={_list(RATES)}", f"weight_decay={_list(DECAYS)}", f"dropout={_list(DROPOUTS)}"], file=None)
    stage = DataConfig(cache, ("efficientnet_lite0",), ("minilm",), device="cpu")
    training = TrainConfig(epochs=epochs, batch_size=64, patience=0, metric="accuracy", seed=seed)
    every = patch("msa.pipeline.sweeps.sweep.rungs_of", lambda last, halving: list(range(1, last + 1)))
    with tempfile.TemporaryDirectory() as runs, every:
        search = Search(sampler="grid", inner=FOLDS, halving=0)
        head = HeadConfig(fusion, hidden=HIDDEN)
        found = sweep(read_corpus(data), stage, space, head, training, search, runs=Path(runs))
    return np.array([[row.values[epoch] for epoch in range(1, epochs + 1)] for row in found.rows[0]])


def choose(
    values: NDArray[np.float64], part: NDArray[np.int64], rungs: Sequence[int], fewest: int
) -> tuple[float, int]:
    """What the setting that halving chooses reaches in the end, and how many epochs were trained."""
    there, trained, before = part, 0, 0
    for rung in rungs:
        trained += len(there) * (rung - before)
        there = there[np.lexsort((there, -values[there, rung - 1]))]
        kept = 1 if rung == rungs[-1] else max(fewest, -(-len(there) // N))
        there, before = there[:kept], rung
    return float(values[there[0], -1]), trained


if __name__ == "__main__":
    main()
