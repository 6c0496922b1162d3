"""Reads posts, joins their features, and runs one epoch, without a head and with one: a process that others measure.

    python benchmarks/mapped_epoch.py POSTS CACHE MEMORY

Prints one JSON object: seconds of each step, rows and bytes of the epoch.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from msa.features.posts.layouts import read_corpus
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.prepare import prepare
from msa.pipeline.training.batches import read_batches, shuffled_batches
from msa.pipeline.training.fold_inputs import FoldInputs, InputsKey
from msa.pipeline.training.loop import fit

HEAD = HeadConfig("attention", inputs="tokens", patches=None, token_width=64)


def main() -> None:
    posts, cache, memory = sys.argv[1:]
    torch.set_num_threads(1)
    found: dict[str, float] = {}

    def done(step: str, since: float) -> float:
        found[step] = time.perf_counter() - since
        return time.perf_counter()

    at = time.perf_counter()
    corpus = read_corpus(Path(posts))
    at = done("read", at)
    data = DataConfig(Path(cache), ("synthetic-image",), ("synthetic-text",), device="cpu", memory=memory)
    table, (fold, *_), _ = prepare(corpus, data, HEAD, seed=0)
    at = done("join", at)
    prepared = FoldInputs.build(table, InputsKey.of(HEAD, fold.train, None), "cpu")
    at, inputs = done("reduce", at), prepared.inputs
    batches = shuffled_batches(torch.from_numpy(fold.train), inputs, 64, torch.Generator())
    found["rows"] = sum(len(rows) for rows, _ in read_batches(inputs, batches))
    at = done("epoch without a head", at)
    fit(
        prepared.head(HEAD, 0),
        inputs,
        prepared.labels,
        train_rows=fold.train,
        valid_rows=fold.valid,
        config=TrainConfig(epochs=1),
    )
    done("epoch", at)
    size = sum(one.values.nbytes for side in (inputs.image, inputs.text) for one in side.sections)
    found["bytes"] = size * found["rows"] / len(inputs)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
