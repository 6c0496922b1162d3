"""`@ocr` embeds the text inside images: cached by the image, read once, there for posts without a text of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from msa.features.blob import content_key
from msa.features.cache.verify import verify_cache
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.sources import EncoderRequest, open_sources, reopen
from msa.features.encoders.zoo import open_encoder
from msa.features.extraction.extract import Extraction, extract
from msa.features.extraction.ray_worker import EmbedWorker, ItemChunk, OpenRequest
from msa.features.extraction.settings import ExtractSettings
from msa.features.posts import image_texts
from msa.features.posts.image_texts import ImageTexts
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import EncoderSpec
from msa.pipeline.data.cached_features import CachedFeatures, load_features

pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")

CHINESE_FONT = Path("/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc")
SHADES = {"good": 10, "bad": 200, "": 90}  # of images that the stand-in reads


def draw(words: str) -> np.ndarray[Any, Any]:
    """A picture of these words, red on white."""
    picture = Image.new("RGB", (500, 100), "white")
    font: Any = ImageFont.truetype(str(CHINESE_FONT), 40) if CHINESE_FONT.exists() else ImageFont.load_default(40)
    ImageDraw.Draw(picture).text((20, 25), words, fill=(200, 0, 0), font=font)
    return np.array(picture)


def plain(shade: int) -> np.ndarray[Any, Any]:
    return np.full((24, 32, 3), shade, np.uint8)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A stand-in for RapidOCR that knows a text by the shade of its image; the list gets what it reads."""
    seen: list[str] = []

    def recognise(self: ImageTexts, pixels: np.ndarray[Any, Any]) -> str:
        seen.append(next(word for word, shade in SHADES.items() if shade == int(pixels.mean())))
        return seen[-1]

    monkeypatch.setattr(ImageTexts, "_recognise", recognise)
    return seen


@pytest.fixture
def posts(tmp_path: Path) -> Corpus:
    """Both parts; a text of its own alone; an image alone; an image without text; one image twice."""
    for word, shade in SHADES.items():
        Image.fromarray(plain(shade)).save(tmp_path / f"{word or 'blank'}.png")
    image: Callable[[str], Path] = lambda name: tmp_path / f"{name}.png"  # noqa: E731
    samples = [
        Sample("both", image("good"), "a horrible day", "x"),
        Sample("text", None, "a lovely day", "y"),
        Sample("image", image("bad"), None, "x"),
        Sample("blank", image("blank"), None, "y"),
        Sample("again", image("bad"), "nice", "y"),
    ]
    return Corpus(tmp_path, "table", samples)


def run(posts: Corpus, cache: Path, *names: str, **options: Any) -> Extraction:
    return extract(posts, EncoderRequest((), names, EncoderOptions(**options)), cache)


def spec_of(name: str, cache: Path | None = None) -> EncoderSpec:
    return open_encoder(name, "text", EncoderOptions(cache=cache)).spec


def features(posts: Corpus, cache: Path, *names: str, tokens: bool = False) -> CachedFeatures:
    return load_features(posts, cache, image=[], text=[spec_of(name) for name in names], tokens=tokens)


@pytest.mark.slow
def test_english_and_chinese_are_read(tmp_path: Path) -> None:
    texts = ImageTexts({}, None)
    assert texts.text(plain(0)[:1, :1], "") == ""
    if not CHINESE_FONT.exists():
        assert texts.text(draw("Birthday"), "") == "Birthday"
        pytest.skip("no Chinese font: fonts-wqy-zenhei is not installed")
    assert set(texts.text(draw("Birthday 今天很开心"), "").split(" ")) == {"Birthday", "今天很开心"}


def test_every_image_has_one_embedding_that_of_its_text(reading: list[str], posts: Corpus, tmp_path: Path) -> None:
    (report,) = run(posts, tmp_path / "cache", "lexicon@ocr").encoders
    assert (report.name, report.modality) == ("lexicon@ocr", "text")
    assert (report.encoded, report.duplicate, report.missing, report.bad) == (3, 1, 1, 0)
    assert sorted(reading) == ["", "bad", "good"]
    side = features(posts, tmp_path / "cache", "lexicon@ocr").text
    assert side is not None
    assert side.present.tolist() == [True, False, True, True, True]
    encoder = open_encoder("lexicon", "text").load(Runtime())
    for row, word in enumerate(("good", None, "bad", "", "bad")):
        if word is not None:
            np.testing.assert_array_equal(side.pooled[row], encoder.preprocess(word))


def test_the_texts_of_several_images_are_averaged(reading: list[str], posts: Corpus, tmp_path: Path) -> None:
    good, bad, blank = (tmp_path / f"{name}.png" for name in ("good", "bad", "blank"))
    several = [Sample("two", good, "t", more_images=(bad,)), Sample("three", bad, None, more_images=(blank, good, bad))]
    corpus = Corpus(tmp_path, "table", several)
    (report,) = run(corpus, tmp_path / "cache", "lexicon@ocr").encoders
    assert (report.rows, report.encoded, report.duplicate, report.missing, report.bad) == (6, 3, 3, 0, 0)
    assert sorted(reading) == ["", "bad", "good"], "each image is read once"
    side = features(corpus, tmp_path / "cache", "lexicon@ocr").text
    assert side is not None
    encoder = open_encoder("lexicon", "text").load(Runtime())
    own = {word: np.asarray(encoder.preprocess(word)) for word in SHADES}
    np.testing.assert_allclose(side.pooled[0], (own["good"] + own["bad"]) / 2, atol=1e-6)
    np.testing.assert_allclose(side.pooled[1], sum(own.values()) / 3, atol=1e-6)


def test_posts_without_a_text_have_that_of_their_image(reading: list[str], posts: Corpus, tmp_path: Path) -> None:
    run(posts, tmp_path / "cache", "lexicon", "lexicon@ocr")
    side = features(posts, tmp_path / "cache", "lexicon", "lexicon@ocr").text
    assert side is not None
    assert side.present.all()
    own, inside = np.split(side.pooled, 2, axis=1)
    assert [bool(row.any()) for row in own] == [True, True, False, False, True]
    assert [bool(row.any()) for row in inside] == [True, False, True, False, True]
    with_tokens = features(posts, tmp_path / "cache", "lexicon", "lexicon@ocr", tokens=True).text
    assert with_tokens is not None
    assert [part.present.tolist() for part in with_tokens.parts] == [
        [True, True, False, False, True],
        [True, False, True, True, True],
    ]


def test_posts_that_share_an_image_are_tied_where_its_text_is_used(
    reading: list[str], posts: Corpus, tmp_path: Path
) -> None:
    run(posts, tmp_path / "cache", "lexicon", "lexicon@ocr")
    groups = features(posts, tmp_path / "cache", "lexicon@ocr").posts.groups
    assert groups[2] == groups[4]
    groups = features(posts, tmp_path / "cache", "lexicon").posts.groups
    assert groups[2] != groups[4]


def test_an_image_is_read_once_for_all_encoders(reading: list[str], posts: Corpus, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run(posts, cache, "lexicon@ocr")
    (file,) = cache.glob("image-texts-*.jsonl")
    assert sorted(json.loads(line)["text"] for line in file.read_text().splitlines()) == ["", "bad", "good"]
    before = len(reading)
    (report,) = run(posts, cache, "tokens@ocr").encoders
    assert (report.encoded, len(reading)) == (3, before)
    lines = file.read_bytes()
    file.write_bytes(lines[:-5])  # as a kill may leave it
    run(posts, cache, "lexicon@ocr", clean="strict")
    assert len(reading) == before + 1
    assert len([line for line in file.read_text().splitlines() if line.endswith('"}')]) == 3


def test_an_image_is_read_once_by_encoders_of_one_command_and_by_other_processes(
    reading: list[str], posts: Corpus, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    other = ImageTexts({}, cache)  # as another process that began before
    opened = [ImageTexts({}, cache) for _ in range(2)]
    assert [texts.text(plain(10), "a") for texts in opened] == ["good", "good"]
    assert (other.text(plain(200), "b"), other.text(plain(10), "a")) == ("bad", "good")
    assert opened[0].text(plain(200), "b") == "bad"
    assert reading == ["good", "bad"]
    reading.clear()
    run(posts, cache, "lexicon@ocr", "tokens@ocr")
    assert sorted(reading) == ["", "bad", "good"]


def test_a_worker_of_a_cluster_reads_no_image_whose_text_is_kept(
    reading: list[str], posts: Corpus, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    images = [sample for sample in posts.samples if sample.image][:3]
    keys = tuple(content_key(sample.image.read_bytes()) for sample in images if sample.image)
    chunk = ItemChunk("image", keys, tuple(images))
    workers = []
    for name in ("lexicon@ocr", "tokens@ocr"):
        request = EncoderRequest((), (name,), EncoderOptions())
        remote = OpenRequest.of(request, open_sources(request, posts, cache), cache)
        (cache / "mark").touch()
        settings = ExtractSettings(device="cpu", streams=1)
        workers.append(EmbedWorker(remote, cache / "mark", settings, cores=1, gpu=False))
        workers[-1].start()  # both before one has read anything
    for worker in workers:
        assert not any(worker.embed(chunk).bad.values())
    assert sorted(reading) == ["", "bad", "good"]
    for store in (store for worker in workers for store in worker.stores.values()):
        store.refresh()
        assert [len(part) for part in store.parts] == [3]


def test_cleaning_and_a_prompt_are_those_of_texts(
    monkeypatch: pytest.MonkeyPatch, posts: Corpus, tmp_path: Path
) -> None:
    monkeypatch.setattr(ImageTexts, "_recognise", lambda self, pixels: "GOOD @bob http://x.y")
    options = EncoderOptions(clean="tweet")
    encoder = open_encoder("tokens@ocr", "text", options).load(Runtime())
    from torch import zeros

    other = open_encoder("tokens", "text").load(Runtime())
    assert encoder.preprocess(zeros(3, 4, 4)).prepared == other.preprocess("GOOD @user http")


def test_a_cached_encoder_is_reopened_and_verified(reading: list[str], posts: Corpus, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (source,) = open_sources(EncoderRequest((), ("lexicon@ocr",), EncoderOptions()), posts, cache)
    run(posts, cache, "lexicon@ocr")
    assert reopen(source.spec, cache).spec == source.spec
    assert (source.spec.reads, source.spec.modality) == ("image", "text")
    assert source.spec.fingerprint != spec_of("lexicon").fingerprint
    verified = verify_cache(cache, posts)
    assert verified.ok
    assert verified.checks[0].compared == 3


def test_another_version_of_the_reader_is_another_encoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = spec_of("lexicon@ocr")
    monkeypatch.setattr(image_texts, "reader_id", lambda package: {"rapidocr": "9.9"})
    monkeypatch.setattr("msa.features.encoders.views.reader_id", lambda package: {"rapidocr": "9.9"})
    assert spec_of("lexicon@ocr").fingerprint != before.fingerprint


def test_what_has_no_text_inside_is_refused(monkeypatch: pytest.MonkeyPatch, posts: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'efficientnet_lite0@ocr' serves text, not image; pass it as --text"):
        open_encoder("efficientnet_lite0@ocr", "image")
    with pytest.raises(ValueError, match=r"'gensim:word2vec' has no variant @ocr"):
        open_encoder("gensim:word2vec@ocr", "text", EncoderOptions(corpus=("a day",)))
    bare = replace(posts, samples=[replace(posts.samples[1])])
    with pytest.raises(ValueError, match=r"none of the 1 posts in .* has an image"):
        run(bare, tmp_path / "cache", "lexicon@ocr")
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "rapidocr" else find(name))
    with pytest.raises(ValueError, match=r"'lexicon@ocr' needs rapidocr, which is missing: `pip install"):
        open_encoder("lexicon@ocr", "text")
