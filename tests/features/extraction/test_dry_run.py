"""A dry run counts as the extraction will, foretells its bytes, and leaves no trace."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msa.cli import run_command
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.sources import EncoderRequest
from msa.features.extraction import dry_run as module
from msa.features.extraction.dry_run import estimate
from msa.features.extraction.extract import extract
from msa.features.extraction.settings import ExtractSettings
from msa.features.extraction.shard import Shard
from msa.features.posts.samples import Corpus, Sample
from msa.features.store.parts import data_bytes
from msa.features.store.store import Store, stored_specs

WORDS = ["lovely", "day", "rain", "cold", "happy", "sad", "sun", "cat", "dog", "tree"]


@pytest.fixture
def posts(tmp_path: Path) -> Corpus:
    """60 texts of 1 to 9 known words: two of them twice, one missing, one without a known word."""
    rng = np.random.default_rng(0)
    (tmp_path / "vectors.txt").write_text(
        f"{len(WORDS)} 6\n" + "".join(f"{word} {' '.join(map(str, rng.normal(size=6)))}\n" for word in WORDS)
    )
    texts: list[str | None] = [" ".join(rng.choice(WORDS, 1 + n % 9)) + f" {n}" for n in range(58)]
    texts += [texts[0], texts[1], None, "zzz"]
    return Corpus(tmp_path, "table", [Sample(f"p{n}", None, text) for n, text in enumerate(texts)])


def request(posts: Corpus, **options: str) -> EncoderRequest:
    return EncoderRequest((), (f"gensim:{posts.root / 'vectors.txt'}",), EncoderOptions(**options))


def listing(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("tokens", [True, False])
def test_it_foretells_what_extraction_then_does(tmp_path: Path, posts: Corpus, tokens: bool) -> None:
    cache, settings = tmp_path / "deep" / "cache", ExtractSettings(tokens=tokens)
    before = listing(tmp_path)
    seen = estimate(posts, request(posts), cache, settings)
    assert listing(tmp_path) == before
    (estimated,), (report,) = seen.encoders, extract(posts, request(posts), cache, settings).encoders
    assert (estimated.rows, estimated.missing, estimated.unreadable) == (62, 1, 0)
    assert (estimated.new, estimated.duplicate, estimated.cached) == (59, 2, 0)
    assert (report.encoded, report.bad, report.duplicate) == (58, 1, 2)
    assert (estimated.sampled, estimated.bad_in_sample, estimated.fingerprint) == (59, 1, report.fingerprint)
    (spec,) = stored_specs(cache)
    store = Store(cache / spec.slug, spec)
    count = int(store.lengths(store.keys).sum()) if tokens else None
    assert estimated.tokens == (None if count is None else pytest.approx(count / 58))
    assert estimated.bytes == data_bytes(spec, 58, count)
    assert 0 < report.bytes - estimated.bytes < 10_000
    assert seen.free_bytes > seen.peak_bytes == seen.bytes == estimated.bytes
    before = listing(tmp_path)
    (idle,) = estimate(replace(posts, samples=posts.samples[:-1]), request(posts), cache, settings).encoders
    assert (idle.new, idle.cached, idle.bytes, idle.seconds, idle.load_seconds) == (0, 58, 0, 0, 0)
    assert listing(tmp_path) == before


def test_a_sample_is_timed_and_the_rest_reckoned(
    tmp_path: Path, posts: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENOUGH_SECONDS", 0.0)
    seen = estimate(posts, request(posts), tmp_path / "cache")
    (estimated,) = seen.encoders
    assert estimated.sampled == module.WARM_UP + module.FIRST
    assert seen.seconds == pytest.approx(estimated.seconds)
    (report,) = extract(posts, request(posts), tmp_path / "cache").encoders
    assert estimated.bytes == pytest.approx(report.bytes, rel=0.6)
    assert "nothing was written" in seen.to_text()


def test_merging_is_in_the_peak(tmp_path: Path, posts: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    half = replace(posts, samples=posts.samples[:30])
    (old,) = extract(half, request(posts), tmp_path / "cache").encoders
    seen = estimate(posts, request(posts), tmp_path / "cache")
    assert seen.peak_bytes == 2 * seen.bytes + old.bytes
    with monkeypatch.context() as patch:
        patch.setattr(module, "MERGE_LIMIT", old.bytes - 1)
        assert estimate(posts, request(posts), tmp_path / "cache").peak_bytes == seen.bytes
    monkeypatch.setattr(module, "FLUSH_BYTES", seen.bytes)  # parts of that size stay
    assert estimate(posts, request(posts), tmp_path / "cache").peak_bytes == seen.bytes


def test_a_shard_counts_its_own_rows(tmp_path: Path, posts: Corpus) -> None:
    rows = [estimate(posts, request(posts), tmp_path / "cache", shard=Shard(n, 3)).encoders[0].rows for n in (1, 2, 3)]
    assert rows == [21, 21, 20]


def test_images_that_several_encoders_see_are_decoded_once(tmp_path: Path) -> None:
    samples = []
    for n in range(12):
        Image.new("RGB", (300, 300), (n, 0, 0)).save(tmp_path / f"{n}.png")
        samples.append(Sample(f"p{n}", tmp_path / f"{n}.png", None))
    corpus, contents = Corpus(tmp_path, "table", samples), module.hash_corpus(Corpus(tmp_path, "table", samples))
    keys = {key for key in contents.image_keys if key}
    saved = [
        module._shared_seconds(corpus, contents, lacked, ExtractSettings(workers=1))
        for lacked in ([], [keys], [keys, set()], [keys, keys])
    ]
    assert saved[:3] == [0, 0, 0]
    assert saved[3] > 0


def test_the_command_writes_nothing_and_refuses_what_extraction_refuses(
    tmp_path: Path, posts: Corpus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{post.id},{post.text}" for post in posts.samples if post.text]
    (tmp_path / "posts.csv").write_text("\n".join(["id,text", *lines]) + "\n")
    before = listing(tmp_path)
    asked = ["extract", "posts.csv", "--image", "none", "--dry-run"]
    assert run_command([*asked, "--text", "gensim:vectors.txt", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fits"] is True
    assert found["encoders"][0]["new"] == 59
    assert run_command([*asked, "--text", "gensim:vectors.txt"]) == 0
    assert "minutes" in capsys.readouterr().out
    assert run_command([*asked, "--text", "minilmm"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert listing(tmp_path) == before
