"""Extraction accounts for every row, survives any kill, and refuses embeddings that no head could read."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from msa.features.encoders.encoder import Encoded, Encoder, Source
from msa.features.extraction import embed
from msa.features.extraction.embed import embed_corpus
from msa.features.extraction.plan import EncoderReport
from msa.features.extraction.settings import ExtractSettings
from msa.features.posts.content import Contents, hash_corpus
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import BadItem, EncoderSpec, Modality
from msa.features.store.errors import read_errors
from msa.features.store.store import Store


def spec(modality: Modality, dtype: Any = "float32") -> EncoderSpec:
    return EncoderSpec(f"fake-{modality}", modality, "timm", "fake", "sha256:0", "last", "mean", "{}", 4, dtype)


class Fake(Encoder):
    """Embeds a text by its letters and an image by its mean; `slow` seconds a batch."""

    def __init__(self, given: EncoderSpec, *, scale: float = 1.0, slow: float = 0.0) -> None:
        self.specs = (given,)
        self.scale = scale
        self.slow = slow
        self.batches: list[list[int]] = []

    def preprocess(self, item: Any, key: str = "") -> np.ndarray:
        if isinstance(item, str):
            if "unknown" in item:
                raise BadItem("no known word")
            return np.array([ord(letter) for letter in item], np.float32)
        return np.asarray(item, np.float32).mean((1, 2))

    def length(self, prepared: np.ndarray) -> int:
        return len(prepared)

    def encode(self, batch: Sequence[np.ndarray]) -> tuple[Encoded, ...]:
        time.sleep(self.slow)
        self.batches.append([len(item) for item in batch])
        tokens = [np.outer(item, [1, 2, 3, 4]).astype(np.float32) * self.scale for item in batch]
        return (Encoded(np.stack([item.mean(0) for item in tokens]), list(tokens)),)


def posts(folder: Path, texts: Sequence[str | None], *, images: bool = False) -> Corpus:
    samples = []
    for number, text in enumerate(texts):
        image = None
        if images:
            image = folder / f"{number}.png"
            Image.new("RGB", (4, 4), (number, 0, 0)).save(image)
        samples.append(Sample(f"p{number}", image, text))
    return Corpus(folder, "table", samples)


def run(corpus: Corpus, cache: Path, fake: Fake, **settings: Any) -> EncoderReport:
    (report,) = embed_corpus(corpus, [Source(fake.specs, lambda runtime: fake)], cache, ExtractSettings(**settings))
    total = report.encoded + report.cached + report.duplicate + report.missing + report.bad
    assert total == len(corpus.samples)
    return report


def test_every_row_is_counted_once_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    corpus = posts(tmp_path, ["one", "two", "one", None, "", "unknown", "unknown", "three"])
    first = run(corpus, tmp_path / "cache", Fake(spec("text")))
    assert (first.encoded, first.cached, first.duplicate, first.missing, first.bad) == (3, 0, 1, 2, 2)
    idle = Fake(spec("text"))
    second = run(corpus, tmp_path / "cache", idle)
    assert (second.encoded, second.cached, second.duplicate, second.missing, second.bad) == (0, 3, 1, 2, 2)
    assert idle.batches == []
    assert second.bytes == first.bytes > 0
    lines = [json.loads(line) for line in (Path(first.path) / "errors.jsonl").read_text().splitlines()]
    assert [(line["id"], line["reason"]) for line in lines] == [("p5", "no known word"), ("p6", "no known word")]


def test_with_nothing_to_do_no_device_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = posts(tmp_path, ["one", "two"])
    run(corpus, tmp_path / "cache", Fake(spec("text")))
    monkeypatch.setattr(
        "msa.features.extraction.settings.choose_runtime", lambda *asked, **more: pytest.fail("torch imported")
    )
    assert run(corpus, tmp_path / "cache", Fake(spec("text"))).cached == 2


def test_new_posts_join_an_old_cache_as_one_file(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run(posts(tmp_path, ["a", "b"]), cache, Fake(spec("text")))
    report = run(posts(tmp_path, ["b", "c", "d"]), cache, Fake(spec("text")))
    assert (report.encoded, report.cached) == (2, 1)
    assert len(list(Path(report.path).glob("part-*.h5"))) == 1


def test_tokens_are_added_where_only_pooled_vectors_were_cached(tmp_path: Path) -> None:
    corpus = posts(tmp_path, ["ab", "cd"])
    assert run(corpus, tmp_path / "cache", Fake(spec("text")), tokens=False).encoded == 2
    assert run(corpus, tmp_path / "cache", Fake(spec("text")), tokens=False).cached == 2
    assert run(corpus, tmp_path / "cache", Fake(spec("text"))).encoded == 2
    assert run(corpus, tmp_path / "cache", Fake(spec("text"))).cached == 2


def test_batches_hold_texts_of_like_length_within_the_budget_whatever_their_order(tmp_path: Path) -> None:
    texts = ["x" * (1 + 37 * n % 50) + chr(97 + n % 26) for n in range(40)]
    fake = Fake(spec("text"))
    run(posts(tmp_path, texts), tmp_path / "cache", fake, batch_tokens=100, streams=1)
    assert sum(map(len, fake.batches)) == len(texts)
    for longer, shorter in pairwise(fake.batches):
        assert len(longer) * max(longer) <= 100
        assert min(longer) >= max(shorter)
    assert len(fake.batches) < 2 * sum(map(len, texts)) / 100


def test_streams_and_batches_change_no_content(tmp_path: Path) -> None:
    corpus = posts(tmp_path, [f"{n % 9 * 'word '}{n}" for n in range(50)], images=True)
    found = []
    for number, settings in enumerate(
        ({"streams": 1, "batch_tokens": 1}, {"streams": 4}, {"streams": 2, "workers": 7})
    ):
        run(corpus, tmp_path / str(number), Fake(spec("text")), **settings)
        found.append(content(tmp_path / str(number)))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 50


def test_bad_images_are_reported_and_the_others_go_on(tmp_path: Path) -> None:
    corpus = posts(tmp_path, ["t"] * 4, images=True)
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "2.png").write_bytes((tmp_path / "3.png").read_bytes()[:40])
    report = run(corpus, tmp_path / "cache", Fake(spec("image")))
    assert (report.encoded, report.bad) == (2, 2)
    lines = (Path(report.path) / "errors.jsonl").read_text().splitlines()
    assert {json.loads(line)["file"] for line in lines} == {"1.png", "2.png"}


@pytest.mark.parametrize(("scale", "dtype", "reason"), [(float("nan"), "float32", "NaN"), (3e3, "float16", "float32")])
def test_values_that_cannot_be_stored_are_bad_items(tmp_path: Path, scale: float, dtype: str, reason: str) -> None:
    report = run(posts(tmp_path, ["ab"]), tmp_path / "cache", Fake(spec("text", dtype), scale=scale))
    assert (report.encoded, report.bad) == (0, 1)
    assert reason in (Path(report.path) / "errors.jsonl").read_text()


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_file_that_changes_after_it_was_hashed_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modality: Modality
) -> None:
    corpus = posts(tmp_path, [None, None], images=modality == "image")
    if modality == "text":
        corpus = replace(corpus, samples=[replace(s, text=tmp_path / f"{s.id}.txt") for s in corpus.samples])
    files = [file for sample in corpus.samples if (file := sample.file(modality))]
    for number, file in enumerate(files if modality == "text" else []):
        file.write_text("ab"[number])

    def hash_and_change(*given: Any, **more: Any) -> Contents:
        contents = hash_corpus(*given, **more)
        first = contents.keys(modality)[0]
        changed = Image.new("RGB", (4, 4), (99, 0, 0)) if modality == "image" else None
        if changed:
            changed.save(files[0])
        else:
            files[0].write_text("c")
        keys.append(first)
        return contents

    keys: list[str | None] = []
    monkeypatch.setattr(embed, "hash_corpus", hash_and_change)
    report = run(corpus, tmp_path / "cache", Fake(spec(modality)))
    assert (report.encoded, report.bad) == (1, 1)
    assert "changed while it was extracted; run the command again" in (Path(report.path) / "errors.jsonl").read_text()
    monkeypatch.setattr(embed, "hash_corpus", hash_corpus)
    again = run(corpus, tmp_path / "cache", Fake(spec(modality)))
    assert (again.encoded, again.cached, again.bad) == (1, 1, 0)
    stored = Store.open(tmp_path / "cache", spec(modality)).keys
    assert set(stored) == set(hash_corpus(corpus).keys(modality))
    assert keys[0] not in stored


def test_a_wrong_key_in_the_content_index_is_found_and_forgotten(tmp_path: Path) -> None:
    corpus = posts(tmp_path, [None, None], images=True)
    for sample in corpus.samples:
        assert sample.image
        os.utime(sample.image, (0, 0))
    run(corpus, tmp_path / "first", Fake(spec("image")))
    (tmp_path / "cache").mkdir()
    shutil.copy(tmp_path / "first/content-index.sqlite3", tmp_path / "cache")
    database = sqlite3.connect(tmp_path / "cache/content-index.sqlite3")
    database.execute("UPDATE files SET key = ? WHERE path = ?", ("0" * 32, b"0.png"))
    database.commit()
    database.close()
    report = run(corpus, tmp_path / "cache", Fake(spec("image")))
    assert (report.encoded, report.bad) == (1, 1)
    again = run(corpus, tmp_path / "cache", Fake(spec("image")))
    assert (again.encoded, again.cached, again.bad) == (1, 1, 0)
    assert set(Store.open(tmp_path / "cache", spec("image")).keys) == set(hash_corpus(corpus).image_keys)


def test_an_item_that_takes_too_much_memory_is_bad_and_the_others_go_on(tmp_path: Path) -> None:
    class Hungry(Fake):
        def preprocess(self, item: Any, key: str = "") -> np.ndarray:
            if item == "large":
                raise MemoryError
            return super().preprocess(item, key)

    report = run(posts(tmp_path, ["a", "large", "b"]), tmp_path / "cache", Hungry(spec("text")))
    assert (report.encoded, report.bad) == (2, 1)
    assert "not enough memory" in (Path(report.path) / "errors.jsonl").read_text()


def test_a_mended_file_is_no_longer_listed_as_bad(tmp_path: Path) -> None:
    corpus = posts(tmp_path, ["t"], images=True)
    whole = (tmp_path / "0.png").read_bytes()
    (tmp_path / "0.png").write_bytes(whole[:30])
    assert run(corpus, tmp_path / "cache", Fake(spec("image"))).bad == 1
    (tmp_path / "0.png").write_bytes(whole)
    report = run(corpus, tmp_path / "cache", Fake(spec("image")))
    assert (report.encoded, report.bad) == (1, 0)


def test_what_was_encoded_before_a_failure_is_kept(tmp_path: Path) -> None:
    class Failing(Fake):
        def encode(self, batch: Sequence[np.ndarray]) -> tuple[Encoded, ...]:
            if len(self.batches) == 2:
                raise OSError("the device is gone")
            return super().encode(batch)

    corpus = posts(tmp_path, [f"text {n:03d}" for n in range(30)])
    with pytest.raises(OSError, match="gone"):
        run(corpus, tmp_path / "cache", Failing(spec("text")), batch_tokens=80, streams=1)
    report = run(corpus, tmp_path / "cache", Fake(spec("text")))
    assert (report.encoded, report.cached) == (10, 20)


def content(cache: Path) -> dict[str, tuple[bytes, bytes]]:
    store = Store.open(cache, spec("text"))
    store.verify()
    keys = [key.decode() for part in store.parts for key in part.keys]
    found = {}
    for positions, rows in store.read(sorted(set(keys)), tokens=True):
        assert rows.tokens is not None
        assert rows.offsets is not None
        for at in range(len(positions)):
            tokens = rows.tokens[rows.offsets[at] : rows.offsets[at + 1]]
            found[rows.keys[at].decode()] = (rows.pooled[at].tobytes(), tokens.tobytes())
    return found


def test_encoders_that_share_a_pass_share_its_time_as_they_compute(tmp_path: Path) -> None:
    corpus = posts(tmp_path, [f"text {n}" for n in range(24)])
    quick = replace(spec("text"), name="quick")
    fakes = [Fake(spec("text"), slow=0.05), Fake(quick, slow=0.002)]
    sources = [Source(fake.specs, lambda runtime, fake=fake: fake) for fake in fakes]
    started = time.perf_counter()
    embed_corpus(corpus, sources, tmp_path / "cache", ExtractSettings(device="cpu", streams=1, batch_tokens=10))
    wall = time.perf_counter() - started
    stores = [Store.open(tmp_path / "cache", fake.specs[0]) for fake in fakes]
    slow, fast = (store.seconds(store.keys) for store in stores)
    assert 24 * 0.052 <= slow + fast <= wall
    assert slow > fast > 0


def test_an_item_that_takes_all_memory_is_named_and_the_others_are_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Short(Fake):
        def preprocess(self, item: Any, key: str = "") -> np.ndarray:
            if item == "huge":
                raise MemoryError
            return super().preprocess(item, key)

    def read(text: Path | str) -> str:
        if text == "giant":
            raise MemoryError
        return str(text)

    monkeypatch.setattr("msa.features.extraction.embed.read_text", read)
    given = spec("text")
    (report,) = embed_corpus(
        posts(tmp_path, ["one", "huge", "giant", "two"]), [Source((given,), lambda _: Short(given))], tmp_path / "cache"
    )
    assert (report.encoded, report.bad) == (2, 2)
    assert [(r.id, r.reason) for r in read_errors(Path(report.path))] == [
        ("p1", "not enough memory to prepare it for fake-text"),
        ("p2", "not enough memory to read it"),
    ]
