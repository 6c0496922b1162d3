"""Claim: every layer of fused training brings more than 5 % of the time that a sweep's heads train.

    python benchmarks/fused_layers.py --data DIR --cache DIR [--heads 64] [--repeats 5]

Heads as those of benchmarks/sweep.py (`concat`, 64 wide, on pooled vectors) train side by side on one inner fold, once
with every layer and once without each of them. All take turns, an epoch each, and the CPU time of the thread is
counted, so that other work on the machine disturbs all alike. Printed is the time of an epoch of one head, and its
ratio to that of the whole: median, and range over the repeats.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from common import DATA, judge

from msa.features.posts.layouts import read_corpus
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.prepare import prepare
from msa.pipeline.data.split import inner_folds
from msa.pipeline.fused import first_layers, stack, step_replay
from msa.pipeline.fused.training import Training, begin_training
from msa.pipeline.training import optimizer
from msa.pipeline.training.adam import TorchOptimizer
from msa.pipeline.training.fold_inputs import FoldInputs, InputsKey

WHOLE, ALONE = "every layer", "no fusion: each head alone"


def torch_adam(decayed: Sequence[torch.nn.Parameter], plain: Sequence[torch.nn.Parameter], **options: float) -> object:
    """torch.optim's fused AdamW, in place of FusedAdam."""
    return TorchOptimizer(torch.optim.AdamW, decayed, plain, decay=options["decay"], fused=True)


def without(layer: str) -> list[AbstractContextManager[object]]:
    """What takes a layer out."""
    patches = {
        "first layers, head by head": patch.object(first_layers, "_find", lambda module, batch: []),
        "replay of steps": patch.object(stack, "replay", lambda kind, step, arguments: step(*arguments)),
        "torch's kernel itself for Adam": patch.object(optimizer, "FusedAdam", torch_adam),
    }
    recordings = {"_recordings": OrderedDict(), "_uses": Counter()}  # of this variant alone
    own = [patch.multiple(step_replay, **RECORDINGS.setdefault(layer, recordings))]
    return [*own, patches[layer]] if layer in patches else [*own]


RECORDINGS: dict[str, dict[str, object]] = {}
LAYERS = ["first layers, head by head", "replay of steps", "torch's kernel itself for Adam"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of posts")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="folder of cached embeddings")
    parser.add_argument("--heads", type=int, default=64, help="heads side by side")
    parser.add_argument("--repeats", type=int, default=5, help="epochs of each variant that are counted")
    given = parser.parse_args()
    config = HeadConfig("concat", hidden=64)
    stage = DataConfig(given.cache, ("efficientnet_lite0",), ("minilm",), device="cpu")
    table, (outer, *_), _ = prepare(read_corpus(given.data), stage, config, seed=0)
    fold = inner_folds(table.posts, outer, folds=5, seed=0)[0]
    inputs = FoldInputs.build(table, InputsKey.of(config, fold.train, None), "cpu")

    def begin(count: int, *, fused: bool) -> Training:
        heads = [inputs.head(config, 0) for _ in range(count)]
        rates = np.geomspace(1e-4, 1e-2, count)
        trainings = [TrainConfig(epochs=10**4, batch_size=64, patience=0, lr=float(rate)) for rate in rates]
        return begin_training(heads, trainings, inputs.inputs, inputs.labels, fold, fused=fused)

    torch.set_num_threads(1)
    few = max(1, given.heads // 8)  # enough of those that train alone
    counts = dict.fromkeys((WHOLE, *LAYERS), given.heads) | {ALONE: few}
    taken: dict[str, list[float]] = {name: [] for name in counts}
    trainings: dict[str, Training] = {}
    for epoch in range(1, given.repeats + 2):
        for name, count in counts.items():
            with ExitStack() as taken_out:
                for change in without(name):
                    taken_out.enter_context(change)
                if name not in trainings:
                    trainings[name] = begin(count, fused=name != ALONE)
                started = time.thread_time()
                trainings[name].train_to(epoch, inputs.inputs)
                taken[name].append((time.thread_time() - started) / count * 1000)
    ratios = {name: np.divide(taken[name][1:], taken[WHOLE][1:]) for name in counts}  # the first epoch records
    for name in counts:
        low, middle, high = np.quantile(ratios[name], [0, 0.5, 1])
        text = name if name in (WHOLE, ALONE) else f"without {name}"
        print(f"{text}: {np.median(taken[name][1:]):.1f} ms, {middle:.2f} times ({low:.2f} to {high:.2f})")
    judge("the layer that brings the least, off over on", float(min(np.median(ratios[name]) for name in LAYERS)), 1.05)


if __name__ == "__main__":
    main()
