"""Claim: `minilm` embeds texts as fast as sentence-transformers does, on the same threads, to the same vectors.

    python benchmarks/texts.py --data DIR [--limit N]

Ours is everything: reading, hashing, word pieces, the compiled model, half-precision tokens and pooled vectors on
disk, merged; loading included. Theirs is `SentenceTransformer.encode` on a loaded model, vectors in memory, in fp32 on
as many threads as there are cores. The two take turns. The ratio last is ours over theirs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import DATA, judge
from sentence_transformers import SentenceTransformer

from msa.features.encoders.bundled import bundled_file
from msa.features.encoders.runtime import available_cores
from msa.features.encoders.zoo import open_encoder
from msa.features.extraction.embed import embed_corpus
from msa.features.extraction.settings import ExtractSettings
from msa.features.posts.content import text_key
from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus, Sample
from msa.features.posts.text import read_text
from msa.features.spec import BadItem
from msa.features.store.store import Store

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--limit", type=int, default=0, help="only the first texts; 0: all")
    given = parser.parse_args()
    if not given.data.exists():
        sys.exit(f"no data at {given.data}; give --data")
    texts: list[str] = []
    for post in read_corpus(given.data).samples:
        try:
            texts += [read_text(post.text)] if post.text else []
        except BadItem:
            continue
    texts = [text for text in dict.fromkeys(texts) if text][: given.limit or None]
    weights = bundled_file("minilm")
    assert weights is not None
    theirs = SentenceTransformer(str(weights.parent), device="cpu", model_kwargs={"torch_dtype": torch.float32})
    theirs.encode(texts[:64])
    times: dict[str, list[float]] = {"msa": [], "sentence-transformers": []}
    for _ in range(ROUNDS):
        torch.set_num_threads(available_cores())
        started = time.perf_counter()
        vectors = theirs.encode(texts, batch_size=32, normalize_embeddings=True)
        times["sentence-transformers"].append(time.perf_counter() - started)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            source = open_encoder("minilm", "text")
            corpus = Corpus(Path(), "texts", [Sample(str(row), None, text) for row, text in enumerate(texts)])
            embed_corpus(corpus, [source], Path(folder), ExtractSettings(device="cpu"))
            times["msa"].append(time.perf_counter() - started)
            store = Store.open(Path(folder), source.spec)
            keys = [text_key(text) for text in texts]
            ours = np.zeros((len(texts), source.spec.width), np.float32)
            for positions, rows in store.read(keys, tokens=False):
                ours[positions] = rows.pooled
    cosine = (ours * vectors).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(vectors, axis=1)
    for name, seconds in times.items():
        rates = sorted(len(texts) / s for s in seconds)
        print(f"{name}: {statistics.median(rates):.1f} texts/s (lowest {rates[0]:.1f}, highest {rates[-1]:.1f})")
    print(f"{len(texts)} texts, {available_cores()} threads each; lowest cosine between the two: {cosine.min():.6f}")
    if cosine.min() < 0.9999:
        sys.exit("the vectors differ: cosine below 0.9999")
    judge(
        "msa over sentence-transformers, medians",
        statistics.median(times["sentence-transformers"]) / statistics.median(times["msa"]),
        1.0,
    )


if __name__ == "__main__":
    main()
