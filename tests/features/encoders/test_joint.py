"""`st:NAME@joint` embeds the image and the text of a post together, as the package's own `encode`."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from joint_models import write_joint
from tiny_families import PATCHY, WORDY, write
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from msa.features.blob import content_key
from msa.features.cache.maintenance import collect_garbage
from msa.features.cache.verify import verify_cache
from msa.features.encoders.encoder import EncoderOptions, WholePost
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.sources import EncoderRequest, open_sources, reopen
from msa.features.encoders.zoo import open_encoder
from msa.features.extraction.dry_run import estimate
from msa.features.extraction.extract import Extraction, extract
from msa.features.extraction.ray_worker import EmbedWorker, ItemChunk, OpenRequest
from msa.features.extraction.settings import ExtractSettings
from msa.features.posts.content import post_key, text_key
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import BadItem
from msa.features.store.errors import read_errors
from msa.pipeline.data.cached_features import load_features

pytest.importorskip("sentence_transformers", reason="the extra `st` is not installed")

LOCAL = EncoderOptions(dtype="float32")
TEXTS = ["what a lovely day", "not !", "this is not a lovely day !"]


def pixels(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(width))


IMAGES = [pixels(50, 64), pixels(32, 32), pixels(40, 80)]
POSTS = [WholePost(*both) for both in zip(IMAGES, TEXTS, strict=True)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """The name of a tiny model, and the model as the package loads it."""
    folder = tmp_path_factory.mktemp("joint") / "model"
    return f"st:{folder}@joint", write_joint(folder)


@pytest.fixture
def posts(tmp_path: Path) -> Corpus:
    """Both parts; the same again; the image with another text; a text alone; an image alone; a damaged image."""
    for name, image in zip("abc", IMAGES, strict=True):
        to_pil_image(image).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    samples = [
        Sample("both", tmp_path / "a.png", TEXTS[0], "x"),
        Sample("again", tmp_path / "a.png", TEXTS[0], "x"),
        Sample("other", tmp_path / "a.png", TEXTS[1], "y"),
        Sample("text", None, TEXTS[2], "y"),
        Sample("image", tmp_path / "b.png", None, "x"),
        Sample("bad", tmp_path / "bad.png", TEXTS[2], "y"),
    ]
    return Corpus(tmp_path, "table", samples)


def as_inputs(posts: list[WholePost]) -> list[dict[str, Any]]:
    return [{"image": to_pil_image(post.image), "text": post.text} for post in posts]


def run(posts: Corpus, cache: Path, *names: str, **options: Any) -> Extraction:
    return extract(posts, EncoderRequest((), names, replace(LOCAL, **options)), cache, ExtractSettings(device="cpu"))


def test_the_vector_is_that_of_the_packages_encode(model: tuple[str, Any]) -> None:
    name, own = model
    source = open_encoder(name, "text", LOCAL)
    spec = source.spec
    assert (spec.name, spec.width, spec.modality, spec.reads) == ("st:model@joint", 16, "text", "post")
    for engine in ("torch", "openvino"):
        encoder = source.load(Runtime(engine=engine))
        prepared = [encoder.preprocess(post) for post in POSTS]
        together = encoder.encode(prepared)[0]
        np.testing.assert_allclose(together.pooled, own.encode(as_inputs(POSTS)), atol=1e-5)
        alone = np.concatenate([encoder.encode([one])[0].pooled for one in prepared])
        np.testing.assert_allclose(together.pooled, alone, atol=1e-5)
        assert [len(one) for one in together.tokens] == [1, 1, 1]
    swapped = encoder.encode([WholePost(IMAGES[1], TEXTS[0]), WholePost(IMAGES[0], TEXTS[1])])[0].pooled
    assert np.abs(swapped - together.pooled[0]).max(1).min() > 1e-3  # it depends on both


def test_a_model_without_conversations_takes_both_too(tmp_path: Path) -> None:
    library = importlib.import_module("sentence_transformers")
    modules = importlib.import_module("sentence_transformers.sentence_transformer.modules")
    torch.manual_seed(0)
    config = hf.ViltConfig(**WORDY, **{name: PATCHY[name] for name in ("image_size", "patch_size")})
    folder = write(tmp_path / "vilt", hf.ViltModel(config))
    images = hf.ViltImageProcessor(size={"shortest_edge": 32}, size_divisor=8)
    hf.ViltProcessor(images, hf.BertTokenizer.from_pretrained(folder)).save_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [modules.Transformer(str(folder)), modules.Pooling(16, "mean")]
        library.SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "m"), create_model_card=False)
        own = library.SentenceTransformer(str(tmp_path / "m"), device="cpu")
    name = f"st:{tmp_path / 'm'}@joint"
    encoder = open_encoder(name, "text", LOCAL).load(Runtime())
    found = encoder.encode([encoder.preprocess(post) for post in POSTS])[0].pooled
    np.testing.assert_allclose(found, own.encode(as_inputs(POSTS)), atol=1e-5)
    with pytest.raises(ValueError, match=r"takes no prompt; got 'day: '; extract it without --prompt"):
        open_encoder(name, "text", EncoderOptions(prompt="day: "))
    with pytest.raises(ValueError, match=r"serves image and text together; pass it as --text st:.*@joint"):
        open_encoder(name.removesuffix("@joint"), "text")


def test_texts_are_cleaned_and_prompted(model: tuple[str, Any]) -> None:
    name, own = model
    options = replace(LOCAL, clean="tweet", prompt="this is ")
    encoder = open_encoder(name, "text", options).load(Runtime())
    prepared = encoder.preprocess(WholePost(IMAGES[0], "a day @bob"))
    assert prepared.text == "a day @user"
    expected = own.encode(as_inputs([prepared]), prompt="this is ")
    np.testing.assert_allclose(encoder.encode([prepared])[0].pooled, expected, atol=1e-5)
    assert np.abs(expected - own.encode(as_inputs([prepared]))).max() > 1e-4


def test_a_text_with_a_mark_of_pictures_is_bad(model: tuple[str, Any]) -> None:
    for name in (model[0], model[0].removesuffix("@joint")):
        encoder = open_encoder(name, "text", LOCAL).load(Runtime())
        text = "a <|image_pad|> day"
        with pytest.raises(BadItem, match=r"its text holds <\|image_pad\|>, which stands for a picture"):
            encoder.preprocess(WholePost(IMAGES[0], text) if "@joint" in name else text)


def test_every_post_is_counted_and_embedded_once(model: tuple[str, Any], posts: Corpus, tmp_path: Path) -> None:
    name, own = model
    cache = tmp_path / "cache"
    (report,) = run(posts, cache, name).encoders
    assert (report.encoded, report.duplicate, report.missing, report.bad) == (2, 1, 2, 1)
    (record,) = read_errors(Path(report.path))
    assert (record.id, Path(record.file).name) == ("bad", "bad.png")
    (again,) = run(posts, cache, name).encoders
    assert (again.encoded, again.cached, again.duplicate, again.missing, again.bad) == (0, 2, 1, 2, 1)
    table = load_features(posts, cache, image=[], text=[open_encoder(name, "text", LOCAL).spec], tokens=False)
    assert table.text is not None
    assert table.text.present.tolist() == [True, True, True, False, False, False]
    expected = own.encode(as_inputs([WholePost(IMAGES[0], text) for text in (TEXTS[0], TEXTS[0], TEXTS[1])]))
    np.testing.assert_allclose(table.text.pooled[:3], expected, atol=1e-5)
    assert table.posts.groups[0] == table.posts.groups[2]  # they share the image
    assert table.posts.groups[3] == table.posts.groups[5]  # they share the text


def test_an_unreadable_part_makes_the_post_bad(model: tuple[str, Any], posts: Corpus, tmp_path: Path) -> None:
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe\x00")
    gone = Sample("gone", tmp_path / "gone.png", TEXTS[0])
    some = replace(posts, samples=[posts.samples[0], gone, Sample("odd", tmp_path / "a.png", tmp_path / "odd.txt")])
    (report,) = run(some, tmp_path / "cache", model[0]).encoders
    assert (report.encoded, report.missing, report.bad) == (1, 0, 2)
    assert [(one.id, one.reason.partition(":")[0]) for one in read_errors(Path(report.path))] == [
        ("gone", "its image"),
        ("odd", "its text"),
    ]


def test_the_cache_is_reopened_verified_and_kept(model: tuple[str, Any], posts: Corpus, tmp_path: Path) -> None:
    name, cache = model[0], tmp_path / "cache"
    assert [one.new for one in estimate(posts, EncoderRequest((), (name,), LOCAL), cache).encoders] == [3]
    run(posts, cache, name)
    spec = open_encoder(name, "text", LOCAL).spec
    assert reopen(spec, cache).spec == spec
    verified = verify_cache(cache, posts)
    assert verified.ok
    assert verified.checks[0].compared == 2
    kept = collect_garbage(cache, [posts], yes=True)
    assert [(entry["kept"], entry["dropped"]) for entry in kept.entries] == [(2, 0)]
    less = collect_garbage(cache, [replace(posts, samples=posts.samples[2:])], yes=True)
    assert [(entry["kept"], entry["dropped"]) for entry in less.entries] == [(1, 1)]


def test_a_changed_file_is_bad_and_found_the_next_time(
    model: tuple[str, Any], posts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replace(posts, samples=posts.samples[:1])
    cache = tmp_path / "cache"
    read = importlib.import_module("msa.features.extraction.embed").read_file
    other = (tmp_path / "b.png").read_bytes()
    monkeypatch.setattr("msa.features.extraction.embed.read_file", lambda source, modality: other)
    (report,) = run(one, cache, model[0]).encoders
    assert (report.encoded, report.bad) == (0, 1)
    monkeypatch.setattr("msa.features.extraction.embed.read_file", read)
    (report,) = run(one, cache, model[0]).encoders
    assert (report.encoded, report.bad) == (1, 0)


def test_a_worker_of_a_cluster_embeds_posts(model: tuple[str, Any], posts: Corpus, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    request = EncoderRequest((), (model[0],), LOCAL)
    remote = OpenRequest.of(request, open_sources(request, posts, cache), cache)
    (cache / "mark").touch()
    worker = EmbedWorker(remote, cache / "mark", ExtractSettings(device="cpu", streams=1), cores=1, gpu=False)
    worker.start()
    key = post_key(content_key((tmp_path / "a.png").read_bytes()), text_key(TEXTS[0]))
    assert key is not None
    result = worker.embed(ItemChunk("post", (key,), (posts.samples[0],)))
    assert not any(result.bad.values())
    (store,) = worker.stores.values()
    store.refresh()
    assert store.keys == [key]


def test_what_cannot_be_embedded_together_is_refused(model: tuple[str, Any], posts: Corpus, tmp_path: Path) -> None:
    name = model[0]
    with pytest.raises(ValueError, match=r"'minilm@joint' has no variant @joint; models of Sentence Transformers have"):
        open_encoder("minilm@joint", "text")
    with pytest.raises(ValueError, match=r"@joint' serves text, not image; pass it as --text"):
        open_encoder(name, "image")
    with pytest.raises(ValueError, match="has two variants; take @joint or @ocr"):
        open_encoder(name.replace("@joint", "@ocr@joint"), "text")
    with pytest.raises(ValueError, match=r"reads each text whole; .* without --long-text windows"):
        open_encoder(name, "text", EncoderOptions(long_text="windows"))
    with pytest.raises(ValueError, match=r"reads each text whole; .* without --max-length"):
        open_encoder(name, "text", EncoderOptions(max_length=8))
    for row, part in ((3, "an image"), (4, "a text")):
        with pytest.raises(ValueError, match=rf"none of the 1 posts in .* has {part}"):
            run(replace(posts, samples=[posts.samples[row]]), tmp_path / "cache", name)
