"""A small table of random features, its folds, and experiments on them, some of which can be fused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from msa.features.spec import EncoderSpec
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.cached_features import CachedFeatures, ModalityTable
from msa.pipeline.data.ragged import Ragged
from msa.pipeline.data.split import Posts, make_folds
from msa.pipeline.training.jobs import Experiment

IMAGE = EncoderSpec("eye", "image", "timm", "fake", "sha256:0", "last", "mean", "{}", 6, "float16")
WORDS = EncoderSpec("words", "text", "gensim", "fake", "sha256:0", "last", "mean", "{}", 5, "float16")
QUICK = TrainConfig(epochs=3, batch_size=16, lr=3e-3)
SMALL = HeadConfig("concat", hidden=8, token_width=4)
N = 90


def side(spec: EncoderSpec, seed: int) -> ModalityTable:
    vectors = np.random.default_rng(seed).normal(size=(N, 5, spec.width)).astype(np.float32)
    vectors[np.arange(N), :, np.arange(N) % 3] += 1.5
    present = np.arange(N) % 10 != seed
    return ModalityTable(
        (spec,), present, vectors[:, 0], Ragged.of_padded(vectors[:, 1:], np.repeat(present[:, None], 4, 1))
    )


def table() -> CachedFeatures:
    posts = Posts([f"p{n}" for n in range(N)], ["abc"[n % 3] for n in range(N)], np.arange(N), [None] * N)
    return CachedFeatures(posts, ("a", "b", "c"), side(IMAGE, 0), side(WORDS, 1))


TABLE = table()
FOLDS = make_folds(TABLE.posts, folds=2, seed=0)
EXPERIMENTS = [
    Experiment(SMALL, QUICK),
    Experiment(replace(SMALL, dropout=0.1), replace(QUICK, lr=1e-2)),
    Experiment(replace(SMALL, hidden=16), QUICK),
    Experiment(SMALL, QUICK, without="image"),
    Experiment(replace(SMALL, ensemble_size=3), replace(QUICK, weight_decay=0.1)),
    Experiment(replace(SMALL, fusion="attention"), QUICK),
    Experiment(replace(SMALL, fusion="attention", options={}), replace(QUICK, lr=1e-2)),
]
