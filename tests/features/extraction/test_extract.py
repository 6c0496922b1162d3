"""What the cache holds equals a direct forward of torchvision and transformers, from file to file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import models

from msa.features.blob import content_key
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.sources import EncoderRequest, reopen
from msa.features.extraction.dry_run import estimate
from msa.features.extraction.extract import extract
from msa.features.posts.content import text_key
from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import Modality
from msa.features.store.store import Store, stored_specs

TEXTS = ["what a lovely day", "this is not a day , really !", "lovely lovely lovely days"]
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "what",
    "a",
    "lovely",
    "day",
    "this",
    "is",
    "not",
    ",",
    "really",
    "!",
    "##s",
]
Row = tuple[NDArray[np.float32], NDArray[np.float32]]


def corpus(folder: Path) -> Corpus:
    """Three posts with noise for images, of three sizes and shapes."""
    rng = np.random.default_rng(0)
    samples = []
    for number, (text, shape) in enumerate(zip(TEXTS, [(300, 260), (256, 400), (231, 233)], strict=True)):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(path)
        samples.append(Sample(str(number), path, text, "ab"[number % 2]))
    return Corpus(folder, "table", samples)


def cached(cache: Path, posts: Corpus, modality: Modality) -> list[Row]:
    """Pooled vector and tokens of each post, as they lie in the store."""
    (spec,) = [spec for spec in stored_specs(cache) if spec.modality == modality]
    keys = [
        content_key(s.image.read_bytes()) if modality == "image" and s.image else text_key(str(s.text))
        for s in posts.samples
    ]
    found: dict[int, Row] = {}
    for positions, rows in Store.open(cache, spec).read(keys, tokens=True):
        assert rows.tokens is not None
        assert rows.offsets is not None
        for at, position in enumerate(positions):
            found[int(position)] = (rows.pooled[at], rows.tokens[rows.offsets[at] : rows.offsets[at + 1]])
    return [found[position] for position in range(len(keys))]


def pixels(posts: Corpus) -> list[Tensor]:
    """uint8 (3, H, W) per post."""
    return [torch.from_numpy(np.array(Image.open(str(s.image)).convert("RGB"))).permute(2, 0, 1) for s in posts.samples]


def same(row: Row, tokens: Tensor, pooled: Tensor) -> None:
    """Equal to 1e-5 of the largest value: float32 sums in another order differ in the last digits."""
    near = 1e-5 * max(1.0, float(tokens.abs().max()))
    assert row[1].shape == tuple(tokens.shape)
    np.testing.assert_allclose(row[1], tokens.numpy(), atol=near, rtol=0)
    np.testing.assert_allclose(row[0], pooled.numpy(), atol=near, rtol=0)


def resnet_map(model: Any, image: Tensor) -> Tensor:
    body = torch.nn.Sequential(*list(model.children())[:-2])
    return torch.as_tensor(body(image))


VISION: dict[str, tuple[Any, Callable[[Any, Tensor], Tensor]]] = {
    "vgg16": (models.VGG16_Weights.IMAGENET1K_V1, lambda model, image: model.features(image)),
    "resnet50": (models.ResNet50_Weights.IMAGENET1K_V1, resnet_map),
    "resnet18": (models.ResNet18_Weights.IMAGENET1K_V1, resnet_map),
}


@pytest.mark.parametrize(
    "name",
    ["resnet18", pytest.param("vgg16", marks=pytest.mark.slow), pytest.param("resnet50", marks=pytest.mark.slow)],
)
def test_a_torchvision_cache_equals_torchvision(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    model: Any = models.get_model(name, weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    published, features = VISION[name]
    posts = corpus(tmp_path)
    options = EncoderOptions(local_files_only=True, dtype="float32")
    request = EncoderRequest((name,), (), options, (f"{name}={tmp_path / 'weights.pth'}",))
    (report,) = extract(posts, request, tmp_path / "cache").encoders
    assert (report.encoded, report.bad) == (3, 0)
    for row, image in zip(cached(tmp_path / "cache", posts, "image"), pixels(posts), strict=True):
        with torch.inference_mode():
            map_ = features(model, published.transforms()(image)[None])[0]  # (D, 7, 7)
        assert map_.shape[1:] == (7, 7)
        same(row, map_.flatten(1).T, map_.mean((1, 2)))


def test_an_extraction_counts_posts_with_several_images(tmp_path: Path) -> None:
    for colour in ("red", "blue"):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{colour}.png")
    (tmp_path / "p.csv").write_text("id,image\n1,red.png;blue.png\n2,blue.png\n")
    posts = read_corpus(tmp_path / "p.csv")
    done = extract(posts, EncoderRequest(("pixels",), ()), tmp_path / "cache")
    assert (done.encoders[0].rows, done.encoders[0].encoded, done.encoders[0].duplicate) == (3, 2, 1)
    assert "posts with several images: 1, with 1 images beyond the first" in done.to_text()


def write(folder: Path, model: Any) -> Path:
    """A local model folder with tokenizer and image processor."""
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    hf.BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    hf.CLIPImageProcessor().save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_bert_base_cache_equals_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = hf.BertModel(hf.BertConfig()).eval()
    folder = write(tmp_path / "bert-base-uncased", model)
    posts = corpus(tmp_path)
    options = EncoderOptions(local_files_only=True, dtype="float32")
    extract(posts, EncoderRequest((), (str(folder),), options), tmp_path / "cache")
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    for row, text in zip(cached(tmp_path / "cache", posts, "text"), TEXTS, strict=True):
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        same(row, hidden, hidden.mean(0))


@pytest.mark.slow
def test_both_towers_of_a_clip_cache_equal_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = hf.CLIPConfig()
    config.text_config.eos_token_id = WORDS.index("[SEP]")
    model = hf.CLIPModel(config).eval()
    folder = write(tmp_path / "clip-vit-base-patch32", model)
    posts = corpus(tmp_path)
    options = EncoderOptions(local_files_only=True, dtype="float32")
    extract(posts, EncoderRequest((str(folder),), (str(folder),), options), tmp_path / "cache")
    processor, tokenizer = hf.AutoImageProcessor.from_pretrained(folder), hf.AutoTokenizer.from_pretrained(folder)
    for row, image in zip(cached(tmp_path / "cache", posts, "image"), pixels(posts), strict=True):
        with torch.inference_mode():
            seen = model.vision_model(**processor(image, return_tensors="pt"))
        assert seen.last_hidden_state.shape == (1, 50, 768)
        same(row, seen.last_hidden_state[0], seen.pooler_output[0])
    for row, text in zip(cached(tmp_path / "cache", posts, "text"), TEXTS, strict=True):
        inputs = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            read = model.text_model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        same(row, read.last_hidden_state[0], read.pooler_output[0])


def test_word2vec_is_fitted_once_and_reopened_for_other_posts(tmp_path: Path) -> None:
    posts = corpus(tmp_path)
    request = EncoderRequest((), ("gensim:word2vec",))
    (report,) = extract(posts, request, tmp_path / "cache").encoders
    assert (report.encoded, report.bad) == (3, 0)
    (spec,) = stored_specs(tmp_path / "cache")
    encoder = reopen(spec, tmp_path / "cache").load(Runtime())
    pooled = encoder.encode([encoder.preprocess(TEXTS[0])])[0].pooled[0]
    np.testing.assert_array_equal(pooled, cached(tmp_path / "cache", posts, "text")[0][0])


def test_what_is_fitted_does_not_see_the_test_rows(tmp_path: Path) -> None:
    posts = corpus(tmp_path)
    for number, (split, text) in enumerate([("test", "one"), ("test", "two"), ("train", "three")]):
        more = replace(posts, samples=[*posts.samples, Sample("more", None, f"{text} {text}", "a", split)])
        extract(more, EncoderRequest((), ("gensim:word2vec",)), tmp_path / "cache")
        assert len(stored_specs(tmp_path / "cache")) == (1 if number < 2 else 2)


def test_a_vectors_file_is_found_again_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vectors.txt").write_text("2 3\nlovely 1 0 2\nday 0 1 0\n")
    posts = corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    extract(posts, EncoderRequest((), ("gensim:vectors.txt",)), tmp_path / "cache")
    (spec,) = stored_specs(tmp_path / "cache")
    monkeypatch.chdir("/")
    assert reopen(spec, tmp_path / "cache").spec == spec
    (tmp_path / "vectors.txt").write_text("2 3\nlovely 1 0 2\nday 0 1 9\n")
    with pytest.raises(ValueError, match="fingerprint"):
        reopen(spec, tmp_path / "cache")


@pytest.mark.parametrize("command", [extract, estimate])
def test_posts_without_any_image_are_refused_before_an_encoder_is_opened(tmp_path: Path, command: Any) -> None:
    samples = [Sample(str(number), None, f"text {number}") for number in range(3)]
    posts = Corpus(tmp_path, "table", samples)
    with pytest.raises(ValueError, match=r"none of the 3 posts .* has an image; .* --image none leaves the images out"):
        command(posts, EncoderRequest(("no such encoder",), ("gensim:word2vec",)), tmp_path / "cache")
    with pytest.raises(ValueError, match=r"has a text; .* --text none"):
        command(replace(posts, samples=[Sample("1", tmp_path / "1.jpg", None)]), EncoderRequest((), ("x",)), tmp_path)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (("missing.pth",), "no file"),
        (("other=spec.pth",), "which encoder"),
        (("spec.pth",), "which encoder"),
    ],
)
def test_weights_must_belong_to_one_encoder(tmp_path: Path, weights: tuple[str, ...], message: str) -> None:
    (tmp_path / "spec.pth").write_bytes(b"")
    given = tuple(w.replace("spec.pth", str(tmp_path / "spec.pth")) for w in weights)
    names = ("vgg16",) if "missing" in weights[0] else ("vgg16", "resnet18")
    request = replace(EncoderRequest(names, ("minilm",)), weights=given)
    with pytest.raises(ValueError, match=message):
        extract(corpus(tmp_path), request, tmp_path / "cache")


@pytest.mark.parametrize("texts", [("good", "bad", None), ("good", None, None)])
def test_a_modality_that_most_posts_lack_is_pointed_out(tmp_path: Path, texts: tuple[str | None, ...]) -> None:
    pytest.importorskip("vaderSentiment")
    posts = Corpus(tmp_path, "table", [Sample(str(number), None, text) for number, text in enumerate(texts)])
    found = extract(posts, EncoderRequest((), ("lexicon",)), tmp_path / "cache")
    assert ("2 of 3 posts have nothing for lexicon" in found.to_text()) == (texts.count(None) == 2)
