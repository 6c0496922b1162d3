"""A view is a crop seeded by its image's key and its number, embedded by the plain encoder, which is loaded once."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from torch import Tensor
from torchvision import models
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from msa.features.blob import content_key
from msa.features.encoders.encoder import Encoder, EncoderOptions, Source
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.views import RATIO, SCALE, Crop, draw_crop, share_loaded, view_source, view_spec
from msa.features.encoders.zoo import open_encoder
from msa.features.extraction import embed as extraction
from msa.features.extraction.embed import embed_corpus
from msa.features.extraction.settings import ExtractSettings
from msa.features.posts import images
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import EncoderSpec
from msa.features.store.store import Store

KEY = "0123456789abcdef" * 2
SPEC = EncoderSpec(
    "plain", "image", "timm", "fake", "sha256:0", "last", "mean", '{"interpolation":"nearest"}', 6, "float32"
)


def torchvision_source(folder: Path) -> tuple[Source, InterpolationMode]:
    torch.manual_seed(0)
    torch.save(models.resnet18(weights=None).state_dict(), folder / "weights.pth")
    options = EncoderOptions(weights=folder / "weights.pth", dtype="float32")
    return open_encoder("resnet18", "image", options), InterpolationMode.BILINEAR


def timm_source(folder: Path) -> tuple[Source, InterpolationMode]:
    return open_encoder("efficientnet_lite0", "image", EncoderOptions(dtype="float32")), InterpolationMode.BICUBIC


def transformers_source(folder: Path) -> tuple[Source, InterpolationMode]:
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 48,
    }
    hf.CLIPVisionModel(hf.CLIPVisionConfig(**small, image_size=48, patch_size=16)).save_pretrained(folder / "clip")
    size = {"height": 48, "width": 48}
    hf.CLIPImageProcessor(size={"shortest_edge": 60}, crop_size=size).save_pretrained(folder / "clip")
    return open_encoder(str(folder / "clip"), "image", EncoderOptions(dtype="float32")), InterpolationMode.BICUBIC


@pytest.mark.parametrize("make", [torchvision_source, timm_source, transformers_source])
def test_a_view_is_the_plain_encoder_on_a_crop_resized_its_way(
    tmp_path: Path, make: Callable[[Path], tuple[Source, InterpolationMode]]
) -> None:
    source, interpolation = make(tmp_path)
    plain, view = source.load(Runtime()), view_source(source, 2).load(Runtime())
    noise = np.random.default_rng(0).integers(0, 256, (3, 190, 310), np.uint8)
    image = torch.from_numpy(noise.transpose(1, 2, 0).copy()).permute(2, 0, 1)
    flips = set()
    for number in range(4):
        key = f"{number:032x}"
        crop = draw_crop(190, 310, key, 2)
        cut = image[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        size = list(plain.preprocess(image).shape[1:])
        pixels = F.resize(cut, size, interpolation, antialias=True)
        pixels = torch.flip(pixels, [2]) if crop.flip else pixels
        flips.add(crop.flip)
        prepared = view.preprocess(image, key)
        assert prepared.dtype == torch.uint8
        assert torch.equal(prepared, pixels)
        (expected,), (got,) = plain.encode([pixels.contiguous()]), view.encode([prepared])
        np.testing.assert_array_equal(got.pooled, expected.pooled)
        np.testing.assert_array_equal(got.tokens[0], expected.tokens[0])
        assert not np.allclose(got.pooled, plain.encode([plain.preprocess(image)])[0].pooled, rtol=1e-3)
    assert flips == {True, False}


def test_a_view_of_a_spec_says_what_it_is_and_has_a_store_of_its_own() -> None:
    first, second = view_spec(SPEC, 1), view_spec(SPEC, 2)
    assert len({SPEC.slug, first.slug, second.slug}) == 3
    assert len({SPEC.fingerprint, first.fingerprint, second.fingerprint}) == 3
    assert first.name == "plain@view1"
    assert json.loads(first.preprocess) == {
        "interpolation": "nearest",
        "view": {
            "kind": "random-resized-crop+flip",
            "index": 1,
            "seed": 0,
            "scale": list(SCALE),
            "ratio": list(RATIO),
        },
    }
    changed = {name for name, value in asdict(first).items() if value != getattr(SPEC, name)}
    assert changed == {"name", "preprocess"}
    assert first.preprocess == json.dumps(json.loads(first.preprocess), sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize(
    ("spec", "index", "message"),
    [
        (replace(SPEC, modality="text"), 1, "views are of images; 'plain' serves text"),
        (view_spec(SPEC, 1), 2, "'plain@view1' is a view itself"),
        (SPEC, 0, "counted from 1; got view 0"),
    ],
)
def test_what_has_no_views_is_refused(spec: EncoderSpec, index: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        view_source(Source((spec,), lambda runtime: Means(spec)), index)


def test_the_crop_depends_on_key_index_and_seed_alone() -> None:
    crop = draw_crop(300, 400, KEY, 1)
    assert crop == Crop(top=2, left=89, height=295, width=298, flip=True)
    assert draw_crop(300, 400, KEY, 1) == crop
    assert crop not in [
        draw_crop(300, 400, KEY[::-1], 1),
        draw_crop(300, 400, KEY, 2),
        draw_crop(300, 400, KEY, 1, seed=1),
    ]


@pytest.mark.parametrize(("height", "width"), [(300, 400), (64, 64), (7, 5), (1, 1), (1, 4000), (4000, 3), (90, 800)])
def test_crops_lie_inside_and_keep_what_they_promise(height: int, width: int) -> None:
    crops = [draw_crop(height, width, f"{number:032x}", 1) for number in range(400)]
    for crop in crops:
        assert min(crop.top, crop.left) >= 0
        assert min(crop.height, crop.width) >= 1
        assert crop.top + crop.height <= height
        assert crop.left + crop.width <= width
    assert 120 < sum(crop.flip for crop in crops) < 280
    if min(height, width) >= 64 and max(height, width) <= 400:
        shares = [crop.height * crop.width / (height * width) for crop in crops]
        forms = [crop.width / crop.height for crop in crops]
        assert SCALE[0] - 0.02 < min(shares) < SCALE[0] + 0.1 < 0.9 < max(shares) <= 1
        assert RATIO[0] - 0.02 < min(forms) < 0.85 < 1.2 < max(forms) < RATIO[1] + 0.02
        assert len(set(crops)) > 390


class Means(Encoder):
    """A model that resizes to 4x4 and returns the mean of each quarter; one column per channel and half."""

    def __init__(self, *specs: EncoderSpec) -> None:
        self.specs = specs

    def preprocess(self, item: Tensor, key: str = "") -> Tensor:
        pixels: Tensor = F.resize(item, [4, 4], InterpolationMode.NEAREST)
        return pixels

    def length(self, prepared: Tensor) -> int:
        return 1

    def encode(self, batch: list[Tensor]) -> Any:
        from msa.features.encoders.encoder import Encoded

        tokens = [item.float().reshape(3, 4, 2, 2).mean(3).permute(1, 0, 2).reshape(4, 6).numpy() for item in batch]
        return (Encoded(np.stack([item.mean(0) for item in tokens]), tokens),)


def posts(folder: Path, count: int = 12) -> Corpus:
    rng = np.random.default_rng(1)
    samples = []
    for number in range(count):
        path = folder / f"{number}.png"
        shape = (20 + number, 40 - number, 3)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path)
        samples.append(Sample(f"p{number}", path, "a text"))
    return Corpus(folder, "table", samples)


def stored(cache: Path, spec: EncoderSpec, corpus: Corpus) -> np.ndarray[Any, Any]:
    keys = [content_key(sample.image.read_bytes()) for sample in corpus.samples if sample.image]
    found = np.zeros((len(keys), spec.width), np.float32)
    for positions, rows in Store.open(cache, spec).read(keys, tokens=False):
        found[positions] = rows.pooled
    return found


def test_an_extraction_loads_once_decodes_once_and_gives_the_same_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = posts(tmp_path)
    loads: list[Runtime] = []
    decoded: list[bytes] = []

    def load(runtime: Runtime) -> Encoder:
        loads.append(runtime)
        return Means(SPEC)

    def decode(raw: bytes, using: ExitStack | None = None) -> Tensor:
        decoded.append(raw)
        return plainly(raw, using)

    plainly = images.decode_image
    monkeypatch.setattr(images, "decode_image", decode)
    plain = Source((SPEC,), load)
    sources = [share_loaded(plain), *(view_source(plain, index) for index in (1, 2, 3))]
    reports = embed_corpus(corpus, sources, tmp_path / "a", ExtractSettings(device="cpu", workers=4))
    assert [report.encoded for report in reports] == [12] * 4
    assert len(loads) == 1
    assert len(decoded) == len(set(decoded)) == 12
    backwards = replace(corpus, samples=corpus.samples[::-1])
    alone = [view_source(plain, 2)]
    embed_corpus(backwards, alone, tmp_path / "b", ExtractSettings(device="cpu", workers=1, batch_images=1))
    np.testing.assert_array_equal(*(stored(tmp_path / part, alone[0].spec, corpus) for part in "ab"))
    everything = [stored(tmp_path / "a", source.spec, corpus) for source in sources]
    for one in range(4):
        for two in range(one):
            assert (np.abs(everything[one] - everything[two]).max(1) > 0).all()
    assert extraction.decode(corpus.samples[0], "image").shape == (3, 20, 40)


def test_a_shared_encoder_lives_as_long_as_someone_uses_it() -> None:
    loads: list[Runtime] = []

    def load(runtime: Runtime) -> Encoder:
        loads.append(runtime)
        return Means(SPEC)

    one, two = share_loaded(Source((SPEC,), load)), view_source(Source((SPEC,), load), 1)
    held = two.load(Runtime())
    assert one.load(Runtime()) is held.plain  # type: ignore[attr-defined]
    assert share_loaded(one).load(Runtime()) is held.plain  # type: ignore[attr-defined]
    assert len(loads) == 1
    one.load(Runtime(streams=3))
    share_loaded(Source((replace(SPEC, weights="sha256:1"),), load)).load(Runtime())
    assert len(loads) == 3
    del held
    gc.collect()
    one.load(Runtime())
    assert len(loads) == 4


def test_an_encoder_that_takes_any_size_has_no_views() -> None:
    class Whole(Means):
        def preprocess(self, item: Tensor, key: str = "") -> Tensor:
            return item

    with pytest.raises(ValueError, match=r"'plain@view1' cannot be made: its encoder has no fixed input size"):
        view_source(Source((SPEC,), lambda runtime: Whole(SPEC)), 1).load(Runtime())
    odd = replace(SPEC, preprocess='{"resample":5}')
    with pytest.raises(ValueError, match=r"'plain@view1' cannot be made: its encoder names no known interpolation"):
        view_source(Source((odd,), lambda runtime: Means(odd)), 1).load(Runtime())
