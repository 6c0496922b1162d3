"""Extraction of posts with several images: each distinct one is embedded once, and every one is accounted for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served_runs import COLOUR, COLOURS, CPU, SOURCES, Colours, picture

from msa.features.blob import content_key
from msa.features.cache import verify
from msa.features.cache.exporting import export_embeddings
from msa.features.cache.imported_arrays import ImportedArrays
from msa.features.cache.importing import import_embeddings
from msa.features.cache.maintenance import collect_garbage
from msa.features.extraction import dry_run
from msa.features.extraction.embed import embed_corpus
from msa.features.extraction.ray_worker import EmbedWorker, ItemChunk, ReopenRequest
from msa.features.extraction.shard import Shard
from msa.features.posts.samples import Corpus, Sample
from msa.features.store.errors import read_errors
from msa.features.store.store import Store, stored_specs

NAMES = {name: picture(colour) for name, colour in COLOURS.items()} | {
    "bad": b"no picture",
    "worse": picture((1, 2, 3))[:99],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures by name, two of which are damaged."""
    made = tmp_path_factory.mktemp("pictures")
    for name, raw in NAMES.items():
        (made / f"{name}.png").write_bytes(raw)
    return made


def corpus_of(folder: Path, posts: list[list[str]]) -> Corpus:
    samples = []
    for number, names in enumerate(posts):
        first, *more = [folder / f"{name}.png" for name in names] or [None]
        samples.append(Sample(f"p{number}", first, f"text {number}", more_images=tuple(filter(None, more))))
    return Corpus(folder, "table", samples)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from([*NAMES, "gone"]), max_size=3), min_size=1, max_size=5))
def test_every_image_is_accounted_for(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, posts: list[list[str]]
) -> None:
    corpus, cache = corpus_of(folder, posts), tmp_path_factory.mktemp("cache")
    items = Counter(name for names in posts for name in names)
    good, missing = set(items) & {*COLOURS}, sum(not names for names in posts)
    bad = sum(count for name, count in items.items() if name not in COLOURS)
    counts = {"encoded": len(good), "cached": 0}
    for again in (False, True):
        if again:
            counts = {"encoded": 0, "cached": len(good)}
        (report,) = embed_corpus(corpus, SOURCES[:1], cache, CPU)
        assert report.rows == len(posts) + len(corpus.owners) == items.total() + missing
        assert report.rows == sum((report.encoded, report.cached, report.duplicate, report.missing, report.bad))
        assert {name: getattr(report, name) for name in counts} == counts
        assert (report.missing, report.bad) == (missing, bad)
        assert len(read_errors(cache / COLOUR.slug)) == bad
    stored = Store(cache / COLOUR.slug, COLOUR)
    assert {*stored.keys} == {content_key(NAMES[name]) for name in good}


def test_an_image_is_decoded_once_whoever_has_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    whole = Colours.preprocess
    monkeypatch.setattr(Colours, "preprocess", lambda self, item, key="": (seen.append(key), whole(self, item, key))[1])
    embed_corpus(corpus_of(folder, [["calm", "glad", "calm"], ["glad", "upset"]]), SOURCES[:1], tmp_path, CPU)
    assert sorted(seen) == sorted(content_key(NAMES[name]) for name in COLOURS)


def test_shards_and_the_dry_run_count_the_same(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = corpus_of(folder, [["calm", "glad"], ["glad", "bad"], [], ["upset", "gone", "calm"]])
    monkeypatch.setattr(dry_run, "open_sources", lambda *given: SOURCES[:1])
    found = dry_run.estimate(corpus, None, tmp_path / "none", CPU)  # type: ignore[arg-type]
    (expected,) = found.encoders
    assert (found.posts, expected.rows) == (4, 8)
    assert expected.rows == sum(
        (expected.missing, expected.unreadable, expected.duplicate, expected.cached, expected.new)
    )
    assert (expected.missing, expected.unreadable, expected.duplicate, expected.new) == (1, 1, 2, 4)
    rows = 0
    for number in (1, 2):
        share = Shard(number, 2).take(corpus)
        (report,) = embed_corpus(share, SOURCES[:1], tmp_path / "cache", CPU, merge=False)
        rows += report.rows
    assert rows == 8
    (whole,) = embed_corpus(corpus, SOURCES[:1], tmp_path / "cache", CPU)
    assert (whole.encoded, whole.cached, whole.bad) == (0, 3, 2)


def test_a_ray_worker_embeds_further_images(folder: Path, tmp_path: Path) -> None:
    corpus = corpus_of(folder, [["calm", "glad"], ["upset"]])
    worker = EmbedWorker(ReopenRequest((), (), tmp_path, folder), tmp_path, CPU, cores=1, gpu=False)
    worker.runtime = CPU.choose_runtime()
    worker.sources, worker.stores = SOURCES[:1], {COLOUR: Store.open(tmp_path, COLOUR)}
    items = corpus.items("image")
    keys = tuple(content_key(NAMES[name]) for name in ("calm", "upset", "glad"))
    result = worker.embed(ItemChunk("image", keys, tuple(items)))
    assert result.bad == {COLOUR.fingerprint: {}}
    assert {*Store(tmp_path / COLOUR.slug, COLOUR).keys} == {*keys}


def test_the_cache_keeps_and_verifies_further_images(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = [["calm", "glad"], ["upset"]]
    embed_corpus(corpus_of(folder, posts), SOURCES[:1], tmp_path, CPU)
    monkeypatch.setattr(verify, "reopen", lambda *given, **more: SOURCES[0])
    (check,) = verify.verify_cache(tmp_path, corpus_of(folder, posts), sample=10, settings=CPU).checks
    assert (check.compared, check.mismatches, check.unopened) == (3, [], None)
    kept = collect_garbage(tmp_path, [corpus_of(folder, posts)], yes=True)
    assert [(one["kept"], one["dropped"]) for one in kept.entries] == [(3, 0)]
    less = collect_garbage(tmp_path, [corpus_of(folder, [["calm"], ["upset"]])], yes=True)
    assert [(one["kept"], one["dropped"]) for one in less.entries] == [(2, 1)]


def test_an_export_has_a_row_for_each_image(folder: Path, tmp_path: Path) -> None:
    corpus = corpus_of(folder, [["calm", "glad"], [], ["upset", "bad"]])
    embed_corpus(corpus, SOURCES[:1], tmp_path / "cache", CPU)
    done = export_embeddings(tmp_path / "cache", "colour", tmp_path / "out", corpus)
    assert (tmp_path / "out" / "ids.txt").read_text().split() == ["p0", "p2", "p0"]
    assert done.notes == [
        "2 posts without a readable image, or further images that are not, are left out",
        "a row is one image: 2 further images of posts with several come last, with their ids",
    ]


def test_an_import_is_of_posts(folder: Path, tmp_path: Path) -> None:
    corpus = corpus_of(folder, [["gone", "glad"], ["upset", "calm"]])
    arrays = ImportedArrays(np.eye(2, 3, dtype=np.float32), ["p0", "p1"])
    done = import_embeddings(corpus, tmp_path / "cache", arrays, name="mine", modality="image")
    assert (done.rows, done.stored, done.other, done.missing) == (2, 2, 0, 1)
    assert not {*read_keys(tmp_path / "cache")} ^ {content_key(NAMES[name]) for name in ("glad", "upset")}


def read_keys(cache: Path) -> list[str]:
    (spec,) = stored_specs(cache)
    return list(Store(cache / spec.slug, spec).keys)
