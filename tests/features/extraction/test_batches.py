"""Batches keep within their budget, and one that the memory is too short for is embedded in halves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msa.features.encoders.encoder import Encoded, Encoder, Source
from msa.features.extraction.batches import batches
from msa.features.extraction.embed import embed_corpus
from msa.features.extraction.settings import ExtractSettings
from msa.features.messages import Notice
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import EncoderSpec
from msa.features.store.store import Store

SPEC = EncoderSpec("letters", "text", "timm", "fake", "sha256:0", "last", "mean", "{}", 4, "float32")


class Letters(Encoder):
    """Embeds a text by its letters; raises `error` for more than `most` texts at once."""

    specs = (SPEC,)

    def __init__(self, most: int = 1000, error: Exception = MemoryError()) -> None:
        self.most, self.error = most, error
        self.sizes: list[int] = []  # of the batches that it embedded

    def preprocess(self, item: str, key: str = "") -> Any:
        return np.array([ord(letter) for letter in item], np.float32)

    def length(self, prepared: Any) -> int:
        return len(prepared)

    def encode(self, batch: Sequence[Any]) -> tuple[Encoded, ...]:
        if len(batch) > self.most:
            raise self.error
        self.sizes.append(len(batch))
        tokens = [np.outer(item, [1, 2, 3, 4]).astype(np.float32) for item in batch]
        return (Encoded(np.stack([item.mean(0) for item in tokens]), tokens),)


def embed(texts: list[str], cache: Path, encoder: Letters) -> dict[str, bytes]:
    """The stored rows of the texts."""
    corpus = Corpus(cache, "table", [Sample(f"p{n}", None, text) for n, text in enumerate(texts)])
    settings = ExtractSettings(device="cpu", streams=1, batch_tokens=80)
    (report,) = embed_corpus(corpus, [Source((SPEC,), lambda runtime: encoder)], cache, settings)
    assert (report.encoded, report.bad) == (len(texts), 0)
    store, found = Store(Path(report.path), SPEC), {}
    for positions, rows in store.read(store.keys, tokens=True):
        for position, pooled, tokens in zip(positions, rows.pooled, rows.token_rows(), strict=True):
            found[store.keys[position]] = pooled.tobytes() + tokens.tobytes()
    return found


def test_padded_batches_keep_within_the_budget() -> None:
    assert [list(batch) for batch in batches([9, 4, 4, 2, 1, 1], 8)] == [[0], [1, 2], [3, 4, 5]]
    assert list(batches([], 8)) == []


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")])
def test_a_batch_that_is_too_large_for_the_memory_is_halved(tmp_path: Path, error: Exception) -> None:
    texts = [f"text {n:03d}" for n in range(60)]  # of eight letters: ten make a batch
    short = Letters(3, error)
    with pytest.warns(Notice, match="not enough memory for letters: goes on with batches of [53]") as notices:
        found = embed(texts, tmp_path / "short", short)
    assert len(notices) == 2
    assert set(short.sizes) <= {2, 3}
    enough = Letters()
    assert embed(texts, tmp_path / "enough", enough) == found
    assert set(enough.sizes) == {10}


def test_an_error_for_a_single_text_and_any_other_error_are_raised(tmp_path: Path) -> None:
    with pytest.raises(MemoryError), pytest.warns(Notice):
        embed(["one", "two"], tmp_path / "cache", Letters(0))
    with pytest.raises(RuntimeError, match="size mismatch"):
        embed(["one", "two"], tmp_path / "cache", Letters(0, RuntimeError("size mismatch")))
