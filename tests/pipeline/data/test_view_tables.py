"""Views of images are joined to posts as the plain image is, and drawn for the rows that train."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from padded_inputs import padded

from msa.features.blob import content_key
from msa.features.encoders.views import view_spec
from msa.features.posts.content import text_key
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import EncoderSpec
from msa.features.store.errors import BadRecord, update_errors
from msa.features.store.store import Store
from msa.features.store.writer import Writer
from msa.pipeline.data.cached_features import CachedFeatures, load_features
from msa.pipeline.data.inputs import build_inputs, build_views, draw_views, fit_reductions

IMAGE = EncoderSpec(
    "eye", "image", "timm", "fake", "sha256:0", "last", "mean", '{"interpolation":"bilinear"}', 6, "float16"
)
TEXT = EncoderSpec("words", "text", "gensim", "fake", "sha256:0", "last", "mean", "{}", 5, "float16")
N = 60


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """N posts with an image each, but the last has none. Only its bytes are read."""
    folder = tmp_path_factory.mktemp("posts")
    samples = []
    for number in range(N):
        path = folder / f"{number}.png"
        path.write_bytes(b"image %d" % number)
        samples.append(Sample(f"p{number}", path if number < N - 1 else None, f"text {number}", "abc"[number % 3]))
    return Corpus(folder, "table", samples)


def keys(corpus: Corpus) -> list[str]:
    return [content_key(sample.image.read_bytes()) for sample in corpus.samples if sample.image]


def fill(cache: Path, corpus: Corpus, *specs: EncoderSpec) -> None:
    """Vectors that name themselves: column 0 is the view, column 1 the row, the rest noise."""
    for spec in specs:
        rng = np.random.default_rng(int(spec.fingerprint, 16))
        writer = Writer(Store.open(cache, spec), tokens=True)
        view = json.loads(spec.preprocess).get("view", {}).get("index", 0)
        found = keys(corpus) if spec.modality == "image" else [text_key(str(s.text)) for s in corpus.samples]
        for row, key in enumerate(found):
            tokens = rng.normal(size=(4, spec.width)).astype(np.float16)
            tokens[:, 0], tokens[:, 1] = view, row
            writer.add(key, tokens.astype(np.float32).mean(0), tokens)
        writer.flush()


def views_of(*specs: EncoderSpec, count: int = 2) -> list[list[EncoderSpec]]:
    return [[view_spec(spec, index) for spec in specs] for index in range(1, count + 1)]


def load(posts: Corpus, cache: Path, *, tokens: bool = False, count: int = 2) -> CachedFeatures:
    views = views_of(IMAGE, count=count)
    return load_features(posts, cache, image=[IMAGE], text=[TEXT], tokens=tokens, views=views)


@pytest.fixture(scope="module")
def cache(posts: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    fill(folder, posts, IMAGE, TEXT, *(spec for view in views_of(IMAGE) for spec in view))
    return folder


@pytest.mark.parametrize("tokens", [False, True])
def test_views_meet_their_posts_and_a_missing_image_is_missing_in_all(posts: Corpus, cache: Path, tokens: bool) -> None:
    table = load(posts, cache, tokens=tokens)
    assert table.image is not None
    for number, view in enumerate(table.image.views, 1):
        assert view.present.tolist() == [True] * (N - 1) + [False]
        assert (view.pooled[: N - 1, 0] == number).all()
        assert view.pooled[: N - 1, 1].tolist() == list(range(N - 1))
        assert (view.tokens is not None) == tokens
        if view.tokens is not None:
            assert view.tokens.values.dtype == np.float16
            assert (view.tokens.values[view.tokens.indices(), 0] == number).all()
    inputs = build_inputs(table, tokens=tokens)
    for number, view in enumerate(build_views(table, inputs, tokens=tokens), 1):
        shown, plain = padded(view), padded(inputs)
        assert (shown.image[: N - 1, :, 0] == number).all()
        assert torch.equal(shown.image_mask, plain.image_mask)
        assert view.text is inputs.text
    assert not padded(inputs).image_mask[-1].any()


def test_reductions_are_fitted_on_the_plain_image_and_applied_to_its_views(posts: Corpus, cache: Path) -> None:
    rows = np.arange(40)
    table, plain = load(posts, cache, tokens=True), load(posts, cache, tokens=True, count=0)
    reductions = fit_reductions(table, rows, width=3, tokens=True)
    assert torch.equal(reductions["image"], fit_reductions(plain, rows, width=3, tokens=True)["image"])
    inputs = build_inputs(table, tokens=True, reductions=reductions)
    first = build_views(table, inputs, tokens=True, reductions=reductions)[0]
    assert table.image is not None
    view = table.image.views[0]
    assert view.tokens is not None
    expected = torch.from_numpy(view.tokens.values[view.tokens[np.arange(50)].indices()].astype(np.float32))
    torch.testing.assert_close(padded(first).image[:50, 1:].flatten(0, 1), expected @ reductions["image"])


def test_a_view_that_could_not_be_embedded_shows_the_plain_image(posts: Corpus, tmp_path: Path) -> None:
    (view,) = views_of(IMAGE, count=1)[0]
    fill(tmp_path, posts, IMAGE, TEXT)
    fill(tmp_path, replace(posts, samples=posts.samples[1:]), view)
    first = keys(posts)[0]
    with pytest.raises(
        ValueError, match=r"1 of 59 items .* eye@view1 .*; run `msa extract --image eye --cache \S+ --views 1` first"
    ):
        load(posts, tmp_path, count=1)
    update_errors(tmp_path / view.slug, [], [BadRecord("p0", first, "0.png", "infinity")])
    table = load(posts, tmp_path, tokens=True, count=1)
    assert table.image is not None
    assert table.image.tokens is not None
    assert table.image.views[0].tokens is not None
    np.testing.assert_array_equal(table.image.views[0].pooled[0], table.image.pooled[0])
    np.testing.assert_array_equal(table.image.views[0].tokens.row(0), table.image.tokens.row(0))
    assert (table.image.views[0].pooled[1 : N - 1, 0] == 1).all()


def test_views_that_were_not_extracted_are_named_with_the_line_that_does_it(posts: Corpus, cache: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"no image features of 'eye@view3' in .*; run `msa extract --image eye --cache .* --views 4`",
    ):
        load(posts, cache, count=4)
    assert not (cache / view_spec(IMAGE, 3).slug).exists()
    with pytest.raises(ValueError, match="views are of images"):
        load_features(posts, cache, image=[], text=[TEXT], tokens=False, views=[[]])


def test_several_image_encoders_show_the_same_view_side_by_side(posts: Corpus, tmp_path: Path) -> None:
    other = replace(IMAGE, name="lens", width=3)
    both = views_of(IMAGE, other)
    fill(tmp_path, posts, IMAGE, other, TEXT, *(spec for view in both for spec in view))
    table = load_features(posts, tmp_path, image=[IMAGE, other], text=[TEXT], tokens=False, views=both)
    assert table.image is not None
    for number, view in enumerate(table.image.views, 1):
        assert view.pooled.shape == (N, 9)
        assert (view.pooled[: N - 1, [0, 6]] == number).all()
    with pytest.raises(ValueError, match=r"run `msa extract --image eye --image lens --cache \S+ --views 3` first"):
        load_features(
            posts, tmp_path, image=[IMAGE, other], text=[TEXT], tokens=False, views=views_of(IMAGE, other, count=3)
        )


def test_each_epoch_draws_a_view_for_each_row_and_leaves_other_rows_plain(posts: Corpus, cache: Path) -> None:
    table = load(posts, cache)
    inputs = build_inputs(table, tokens=False)
    views = build_views(table, inputs, tokens=False)
    plain, draw = padded(inputs), torch.Generator().manual_seed(3)
    epochs = [padded(draw_views(inputs, views, torch.arange(10, 50), draw)) for _ in range(60)]
    assert torch.equal(padded(inputs).image, plain.image)
    of_views = [plain, *map(padded, views)]
    shown = torch.stack([epoch.image[:, 0, 0] for epoch in epochs])  # (epochs, N)
    assert (shown[:, :10] == 0).all()
    assert (shown[:, 50:] == 0).all()
    counts = Counter(shown[:, 10:50].flatten().int().tolist())
    assert set(counts) == {0, 1, 2}
    assert min(counts.values()) > 0.28 * 60 * 40
    for epoch in epochs[:3]:
        for row in range(10, 50):
            view = int(epoch.image[row, 0, 0])
            assert torch.equal(epoch.image[row], of_views[view].image[row])
    assert len({tuple(row.tolist()) for row in shown}) == 60
    again = padded(draw_views(inputs, views, torch.arange(20, 30), torch.Generator().manual_seed(3)))
    assert torch.equal(again.image[20:30], epochs[0].image[20:30])
