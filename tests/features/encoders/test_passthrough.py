"""Pass-through encoders store pixels and word pieces exactly, by the same rules as any other encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from padded_inputs import padded
from PIL import Image
from torchvision.transforms import functional as F

from msa.features.cache.verify import verify_cache
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.passthrough import PIXELS, VOCABULARY
from msa.features.encoders.zoo import open_encoder
from msa.features.extraction.embed import embed_corpus
from msa.features.extraction.settings import ExtractSettings
from msa.features.posts.samples import Corpus, Sample
from msa.features.store.store import Store
from msa.pipeline.data.cached_features import load_features
from msa.pipeline.data.inputs import build_inputs, towers_of

TEXTS = ["a lovely day", "unbelievable :)", "a lovely day", ""]
QUICK = ExtractSettings(device="cpu", tokens=False, workers=1)


def corpus(folder: Path) -> Corpus:
    """Four posts: three images of three shapes, the last one broken; one text twice, one empty."""
    rng = np.random.default_rng(0)
    samples = []
    for number, text in enumerate(TEXTS):
        path = folder / f"{number}.png"
        shape = [(300, 260), (240, 500), (224, 224), (20, 20)][number]
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(path)
        samples.append(Sample(f"p{number}", path, text, "ab"[number % 2]))
    samples[3].image.write_bytes(b"broken")  # type: ignore[union-attr]
    return Corpus(folder, "table", samples)


@pytest.mark.parametrize("name", PIXELS)
def test_pixels_and_word_pieces_lie_in_the_store_as_they_are(tmp_path: Path, name: str) -> None:
    posts, cache = corpus(tmp_path), tmp_path / "cache"
    side, short = PIXELS[name]
    sources = [open_encoder(name, "image"), open_encoder("tokens", "text")]
    image, text = embed_corpus(posts, sources, cache, QUICK)
    assert (image.encoded, image.bad, text.encoded, text.duplicate, text.missing) == (3, 1, 2, 1, 1)
    assert [report.encoded for report in embed_corpus(posts, sources, cache, QUICK)] == [0, 0]
    assert verify_cache(cache, posts).ok
    table = load_features(posts, cache, image=[sources[0].spec], text=[sources[1].spec], tokens=False, patches=(4, 4))
    assert table.image is not None
    assert table.text is not None
    assert table.image.tokens is not None
    assert table.text.tokens is not None
    assert (table.image.tokens.values.dtype, table.text.tokens.values.dtype) == (np.uint8, np.int32)
    for row in range(3):
        pixels = torch.from_numpy(np.array(Image.open(str(posts.samples[row].image)))).permute(2, 0, 1)
        shown = F.center_crop(F.resize(pixels, [short], antialias=True), [side])
        assert np.array_equal(table.image.tokens.row(row).reshape(side, side, 3), shown.permute(1, 2, 0).numpy())
    from transformers import AutoTokenizer

    from msa.features.encoders.bundled import bundled_file

    tokenizer = AutoTokenizer.from_pretrained(str(bundled_file("minilm").parent), local_files_only=True)  # type: ignore[union-attr]
    assert tokenizer.vocab_size == VOCABULARY
    for row in range(3):
        ids = tokenizer(TEXTS[row])["input_ids"]
        assert table.text.tokens.row(row)[:, 0].tolist() == ids
        assert table.text.pooled[row] == len(ids)
    inputs = padded(build_inputs(table, tokens=False))
    assert inputs.image.shape == (4, 1 + side, 3 * side)
    assert inputs.image_mask.any(1).tolist() == [True, True, True, False]
    assert inputs.text_mask.any(1).tolist() == [True, True, True, False]
    towers = towers_of({"image": table.image.specs, "text": table.text.specs}, tokens=False)
    assert (towers.image, towers.vocabulary, towers.tokens) == (True, VOCABULARY, False)


def test_the_spec_says_what_decides_the_bytes() -> None:
    plain = open_encoder("tokens", "text").spec
    others = [EncoderOptions(max_length=16), EncoderOptions(clean="social")]
    assert len({plain.fingerprint, *(open_encoder("tokens", "text", o).spec.fingerprint for o in others)}) == 3
    assert "be50c3628f2bf5bb" in plain.preprocess
    assert open_encoder("pixels@view1", "image").spec.dtype == "uint8"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pixels", EncoderOptions(weights=Path(__file__)), "takes no weights file"),
        ("pixels@-2", EncoderOptions(), "layer of 'pixels' must be one of"),
        ("pixels@max", EncoderOptions(), "pool of 'pixels' must be one of"),
    ],
)
def test_what_cannot_be_asked_of_pixels_is_refused(name: str, options: EncoderOptions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_encoder(name, "image", options)


def test_a_length_beyond_the_tokenizer_and_joined_raw_encoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max length of 'tokens' must be 3 to 256; got 300"):
        open_encoder("tokens", "text", EncoderOptions(max_length=300))
    one, two = open_encoder("tokens", "text"), open_encoder("tokens", "text", EncoderOptions(max_length=9))
    posts = corpus(tmp_path)
    embed_corpus(posts, [one, two], tmp_path / "cache", QUICK)
    assert len(Store.open(tmp_path / "cache", two.spec)) == 2
    with pytest.raises(ValueError, match="tokens and tokens cannot be joined"):
        load_features(posts, tmp_path / "cache", image=[], text=[one.spec, two.spec], tokens=True)
