"""A table of posts with real pictures and imported embeddings, and a head trained on it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from cached_posts import QUICK, stage
from PIL import Image

from msa.features.cache.imported_arrays import ImportedArrays
from msa.features.cache.importing import import_embeddings
from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.train_head import train_head

COUNT = 90
COPIED = {9: 8, 19: 18}  # post 9 has the image and the text of post 8, and so on


def shown_posts(folder: Path, *, texts: Mapping[int, str] = {}, labels: Mapping[int, str] = {}) -> Corpus:
    """COUNT posts `p0`, … in `posts.csv`, of the classes a, b, c in turn, with embeddings in `folder/cache`.

    `labels` and `texts` are those of posts that have others; the embeddings are of the class in turn.
    """
    draw = np.random.default_rng(1)
    same = [COPIED.get(n, n) for n in range(COUNT)]
    lines = []
    for number in same:
        noise = draw.integers(0, 256, (240, 320, 3), dtype=np.uint8)
        if not (folder / f"{number}.png").exists():
            Image.fromarray(noise).save(folder / f"{number}.png", compress_level=1)
        lines.append([f"{number}.png", texts.get(number, f"text {number}")])
    with (folder / "posts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "image", "text", "label"])
        for number, line in enumerate(lines):
            writer.writerow([f"p{number}", *line, labels.get(number, "abc"[same[number] % 3])])
    corpus = read_corpus(folder / "posts.csv")
    ids = [sample.id for sample in corpus.samples]
    for modality, width in (("image", 6), ("text", 4)):
        vectors = draw.normal(size=(COUNT, width)).astype(np.float32)
        vectors[np.arange(COUNT), [n % 3 for n in same]] += 4
        import_embeddings(
            corpus, folder / "cache", ImportedArrays(vectors[same], ids), name=f"{modality}s", modality=modality
        )
    return corpus


def trained(corpus: Corpus, fusion: str = "concat", **options: object) -> Path:
    """The folder of a run of three folds on these posts."""
    head = HeadConfig(fusion, hidden=16, dropout=0.1)
    return train_head(corpus, stage(corpus, **options), head, QUICK, runs=corpus.root / "runs").run
