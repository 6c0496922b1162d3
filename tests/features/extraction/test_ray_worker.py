"""A worker of a Ray cluster, without a cluster: what it opens, what it writes, how it fails."""

from __future__ import annotations

import importlib
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.sources import EncoderRequest, open_sources
from msa.features.extraction.embed import embed_corpus
from msa.features.extraction.ray_worker import EmbedWorker, ItemChunk, OpenRequest
from msa.features.extraction.settings import ExtractSettings
from msa.features.posts.content import text_key
from msa.features.posts.samples import Corpus, Sample
from msa.features.store.store import Store

SETTINGS = ExtractSettings(device="cpu", streams=1)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("ray_fakes")


def corpus(folder: Path, texts: list[str]) -> Corpus:
    return Corpus(folder, "table", [Sample(f"p{n}", None, text) for n, text in enumerate(texts)])


def worker(request: Any, cache: Path) -> EmbedWorker:
    mark = cache / "mark"
    mark.touch()
    return EmbedWorker(request, mark, SETTINGS, cores=1, gpu=False)


def chunk_of(posts: Corpus) -> ItemChunk:
    return ItemChunk("text", tuple(text_key(str(sample.text)) for sample in posts.samples), tuple(posts.samples))


def test_a_retried_chunk_is_not_written_again_but_counts_all_cut_texts(tmp_path: Path, fakes: Any) -> None:
    (tmp_path / "cache").mkdir()
    posts = corpus(tmp_path, ["seven", "two", "unknown", "three"])
    chunk = chunk_of(posts)
    first, second = (worker(fakes.FakeRequest(tmp_path / "cache"), tmp_path / "cache") for _ in range(2))
    first.start()
    second.start()
    first.embed(replace(chunk, keys=chunk.keys[:2], samples=chunk.samples[:2]))
    outcome = second.embed(replace(chunk, attempt=1))
    assert outcome.cut == {fakes.SPEC.fingerprint: {chunk.keys[0], chunk.keys[3]}}
    assert list(outcome.bad[fakes.SPEC.fingerprint].values()) == ["no known word"]
    store = Store.open(tmp_path / "cache", fakes.SPEC)
    assert sorted(len(part) for part in store.parts) == [1, 2]


def test_a_node_that_does_not_see_the_files_is_named(tmp_path: Path, fakes: Any) -> None:
    (tmp_path / "cache").mkdir()
    blind = EmbedWorker(
        fakes.FakeRequest(tmp_path / "cache"), tmp_path / "cache" / "none", SETTINGS, cores=1, gpu=False
    )
    with pytest.raises(ValueError, match=r"does not see the cache folder .*cache; .*share"):
        blind.start()
    seeing = worker(fakes.FakeRequest(tmp_path / "cache"), tmp_path / "cache")
    seeing.start()
    gone = Corpus(tmp_path, "course", [Sample("1", None, tmp_path / "elsewhere" / "1.txt")])
    chunk = ItemChunk("text", ("0" * 32,), tuple(gone.samples))
    assert seeing.embed(chunk).unseen == [tmp_path / "elsewhere" / "1.txt"]


def test_what_travels_is_small_and_opens_the_same_encoders(tmp_path: Path) -> None:
    posts = corpus(tmp_path, [f"one two three {n % 5}" for n in range(2000)])
    request = EncoderRequest((), ("minilm", "gensim:word2vec"), EncoderOptions(dtype="float32", pools=("mean", "max")))
    sources = open_sources(request, posts, tmp_path / "cache")
    sent = pickle.dumps(OpenRequest.of(request, sources, tmp_path / "cache"))
    assert len(sent) < 10_000
    remote: OpenRequest = pickle.loads(sent)
    with pytest.raises(ValueError, match=r"gensim:word2vec.*missing"):
        remote.open()
    embed_corpus(posts, sources[1:], tmp_path / "cache", SETTINGS)
    assert [source.specs for source in remote.open()] == [source.specs for source in sources]
    other = replace(remote, request=replace(remote.request, options=EncoderOptions(max_length=9)))
    with pytest.raises(ValueError, match="'minilm' is another on node"):
        other.open()
