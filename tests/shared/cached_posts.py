"""Posts with imported embeddings, for tests of stage two that need a cache and no encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from msa.features.cache.imported_arrays import ImportedArrays
from msa.features.cache.importing import import_embeddings
from msa.features.posts.samples import Corpus, Sample
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig

N = 120
QUICK = TrainConfig(epochs=8, batch_size=16, lr=1e-2)
HEAD = HeadConfig("gated", hidden=8, dropout=0.1, inputs="tokens", patches=None, token_width=4)


def cached_posts(folder: Path) -> Corpus:
    """N posts with embeddings in `folder/cache`; every tenth is a copy of the post before it, under its own id."""
    draw = np.random.default_rng(0)
    same = [n - 1 if n % 10 == 9 else n for n in range(N)]
    labels = ["abc"[n % 3] for n in same]
    samples = []
    for number, copied in enumerate(same):
        image = folder / f"{copied}.jpg"
        image.write_bytes(f"image {copied}".encode())
        samples.append(Sample(f"p{number}", image, f"text {copied}", labels[number]))
    corpus = Corpus(folder, "table", samples)
    ids, cuts = [sample.id for sample in samples], np.arange(0, 3 * N + 1, 3)
    for modality in ("image", "text"):
        vectors = draw.normal(size=(N, 3, 6)).astype(np.float32)
        vectors[np.arange(N), :, [n % 3 for n in same]] += 1.5
        vectors = vectors[same]
        arrays = ImportedArrays(vectors[:, 0], ids, vectors.reshape(-1, 6), cuts)
        import_embeddings(corpus, folder / "cache", arrays, name=f"{modality}s", modality=modality)
    return corpus


def stage(corpus: Corpus, **options: Any) -> DataConfig:
    encoders = {"image": ("images",), "text": ("texts",)}
    return DataConfig(corpus.root / "cache", **{**encoders, "folds": 3, "device": "cpu", **options})
