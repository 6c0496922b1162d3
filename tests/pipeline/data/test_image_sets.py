"""Posts with several images: their features are those of all, and no fold parts two posts that share one of them."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from padded_inputs import padded
from served_runs import Colours, picture
from several_images import EYE, embed_drawn, several_images, vectors_of

from msa.features.blob import content_key
from msa.features.encoders.tuned import TunedRecord
from msa.features.messages import Notice
from msa.features.posts.content import hash_corpus, post_key, split_keys, text_key
from msa.features.posts.samples import Corpus, Sample
from msa.features.store.store import Store
from msa.features.store.writer import Writer
from msa.pipeline.data import seen
from msa.pipeline.data.cached_features import CachedFeatures, load_features
from msa.pipeline.data.image_sets import find_sets
from msa.pipeline.data.inputs import build_inputs, mask_modality
from msa.pipeline.data.join import join_posts
from msa.pipeline.data.patches import coarsen
from msa.pipeline.data.split import load_or_make_folds, make_folds
from msa.pipeline.data.split_notices import describe_split
from msa.pipeline.data.test_posts import mark_test_posts
from msa.pipeline.estimators.feature_table import FeatureTable
from msa.pipeline.finetuning.inputs import PostInputs

NAMES = "abcdef"
DRAWN = st.lists(st.lists(st.sampled_from([*NAMES, "bad", ""]), max_size=4), min_size=1, max_size=6)


def load(corpus: Corpus, cache: Path, **more: object) -> CachedFeatures:
    given = {"image": [EYE], "text": [], "tokens": True} | more
    return load_features(corpus, cache, **given)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(DRAWN, st.booleans())
def test_pooled_is_the_mean_and_tokens_follow_one_another(drawn: list[list[str]], tokens: bool) -> None:
    lengths = {name: 2 + number for number, name in enumerate(NAMES)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = several_images(folder, {f"p{n}": images for n, images in enumerate(drawn)})
        embed_drawn(folder / "cache", lengths, bad=["bad"])
        table = load(corpus, folder / "cache", tokens=tokens)
        side = table.image
        assert side is not None
        assert (side.tokens is not None) == tokens
        for row, images in enumerate(drawn):
            own = [vectors_of(image, tokens=lengths[image]) for image in dict.fromkeys(images) if image in lengths]
            assert side.present[row] == bool(own)
            assert side.images is None or side.images[row] == len(own)
            wanted = np.mean([one.mean(0) for one in own], axis=0) if own else np.zeros(EYE.width)
            np.testing.assert_allclose(side.pooled[row], wanted, atol=1e-6)
            if side.tokens is not None:
                rows = np.concatenate([np.zeros((0, EYE.width), np.float32), *own])
                np.testing.assert_array_equal(side.tokens.row(row), rows)
        assert (side.images is None) == all(len(images) < 2 for images in drawn)


def test_a_post_with_one_image_is_what_it_was(tmp_path: Path) -> None:
    """Beside posts with several images, too: the same bits, identity and vectors in memory."""
    alone = {"p0": ["a"], "p1": ["b"], "p2": []}
    embed_drawn(tmp_path / "cache", dict.fromkeys(NAMES, 3))
    before = load(several_images(tmp_path / "one", alone), tmp_path / "cache")
    beside = load(several_images(tmp_path / "two", alone | {"p3": ["c", "d"]}), tmp_path / "cache")
    assert before.image is not None
    assert beside.image is not None
    assert before.image.images is None
    np.testing.assert_array_equal(before.image.pooled, beside.image.pooled[:3])
    for row in range(3):
        np.testing.assert_array_equal(before.image.tokens.row(row), beside.image.tokens.row(row))  # type: ignore[union-attr]
    assert before.posts.contents == beside.posts.contents[:3]
    assert all(image is None or len(image) == 32 for image, _ in before.posts.contents)
    sample = Sample("a", None, None)
    assert sample.more_images is Sample("b", None, "text").more_images, "one empty tuple for all posts"
    corpus = several_images(tmp_path / "one", alone)
    assert corpus.items("image") is corpus.samples


def test_with_a_grid_each_image_is_coarsened_alone(tmp_path: Path) -> None:
    corpus = several_images(tmp_path, {"p0": ["a", "b"], "p1": ["c"]})
    embed_drawn(tmp_path / "cache", dict.fromkeys("abc", 16))
    side = load(corpus, tmp_path / "cache", patches=(2, 2)).image
    assert side is not None
    assert side.tokens is not None
    wanted = [coarsen(vectors_of(image, tokens=16), (2, 2)) for image in "ab"]
    np.testing.assert_allclose(side.tokens.row(0), np.concatenate(wanted), atol=1e-6)
    assert side.tokens.lengths.tolist() == [8, 4]


def test_of_two_encoders_a_post_has_the_images_that_each_embedded(tmp_path: Path) -> None:
    other = replace(EYE, name="other")
    corpus = several_images(tmp_path, {"p0": ["a", "b"], "p1": ["b", "c"], "p2": ["c"]})
    embed_drawn(tmp_path / "cache", dict.fromkeys("abc", 2))
    embed_drawn(tmp_path / "cache", dict.fromkeys("ab", 3), other, bad=["c"])
    side = load(corpus, tmp_path / "cache", image=[EYE, other]).image
    assert side is not None
    assert side.present.tolist() == [True, True, False]
    assert [part.images.tolist() for part in side.parts if part.images is not None] == [[2, 2, 1], [2, 1, 0]]
    np.testing.assert_allclose(side.pooled[1, 4:], vectors_of("b", other, tokens=3).mean(0), atol=1e-6)


def test_views_are_joined_alike_and_one_that_lacks_an_image_is_replaced(tmp_path: Path) -> None:
    view = replace(EYE, name="view")
    corpus = several_images(tmp_path, {"p0": ["a", "b"], "p1": ["a", "c"]})
    embed_drawn(tmp_path / "cache", dict.fromkeys("abc", 2))
    writer = dict.fromkeys("ab", 2)
    embed_drawn(tmp_path / "cache", writer, view, bad=["c"])
    side = load(corpus, tmp_path / "cache", views=[[view]]).image
    assert side is not None
    (filled,) = side.views
    assert filled.tokens is not None
    assert filled.present.tolist() == [True, True]
    assert filled.tokens.lengths.tolist() == [4, 4], "as many tokens as without augmentation"
    np.testing.assert_allclose(filled.pooled, side.pooled, atol=1e-6)  # drawn alike


def test_a_tower_reads_the_first_image_that_is_there(tmp_path: Path) -> None:
    raw = replace(EYE, name="pixels", source="raw", weights="none", dtype="float32")
    corpus = several_images(tmp_path, {"p0": ["bad", "b"], "p1": ["b", "c"]})
    embed_drawn(tmp_path / "cache", dict.fromkeys("bc", 2), raw, bad=["bad"])
    with pytest.warns(Notice, match="2 posts have several images; of each the first that can be read is used"):
        side = load(corpus, tmp_path / "cache", image=[raw], tokens=False).image
    assert side is not None
    assert side.tokens is not None
    for row in range(2):
        np.testing.assert_array_equal(side.tokens.row(row), vectors_of("b", raw, tokens=2))


def test_hiding_the_image_hides_all_of_them(tmp_path: Path) -> None:
    corpus = several_images(tmp_path, {"p0": ["a", "b", "c"], "p1": ["a"]})
    embed_drawn(tmp_path / "cache", dict.fromkeys("abc", 2))
    table = load(corpus, tmp_path / "cache")
    inputs = build_inputs(table, tokens=True)
    assert padded(inputs).image_mask.sum(1).tolist() == [7, 3]
    for hidden in (mask_modality(inputs, "image"), build_inputs(table, tokens=True, without="image")):
        assert not padded(hidden).image_mask.any()


def test_images_that_were_never_extracted_are_an_error(tmp_path: Path) -> None:
    corpus = several_images(tmp_path, {"p0": ["a"], "p1": ["a", "b"]})
    embed_drawn(tmp_path / "cache", {"a": 2})
    with pytest.raises(ValueError, match=r"1 of 2 items have no features.*--limit 1: the first 1 posts have them"):
        load(corpus, tmp_path / "cache")


def test_posts_that_share_any_image_are_one_group_and_in_one_part(tmp_path: Path) -> None:
    """A duplicate planted as the second image of one post and the third of another."""
    images = {f"p{n}": [f"own {n}", f"more {n}"] for n in range(40)}
    images["p3"] = ["own 3", "planted"]
    images["p20"] = ["own 20", "more 20", "planted"]
    corpus = several_images(tmp_path, images)
    _, posts = join_posts(corpus)
    groups = posts.groups.tolist()
    assert groups[3] == groups[20]
    assert len(set(groups)) == 39
    for fold in make_folds(posts, folds=4, seed=0):
        assert sum(bool({3, 20} & {*part.tolist()}) for part in (fold.train, fold.valid, fold.test)) == 1
    alone = join_posts(corpus, tied=["text"])[1]
    assert len(set(alone.groups.tolist())) == 40
    notices = [*describe_split(alone, make_folds(alone, folds=40, seed=0), {"image", "text"})]
    assert "2 of the scored posts share their image with a training post, as --group-by allows" in notices


def test_near_copies_of_any_image_tie_posts(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in "xyz":
        blocks = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((64, 64))
        blocks.save(tmp_path / f"{name}.png")
        blocks.save(tmp_path / f"{name}.jpg", quality=60)
    first = Sample("p0", tmp_path / "x.png", "one", more_images=(tmp_path / "y.png",))
    other = Sample("p1", tmp_path / "z.png", "two", more_images=(tmp_path / "y.jpg",))
    posts = join_posts(Corpus(tmp_path, "table", [first, other]), near_duplicates=True)[1]
    assert posts.groups.tolist() == [0, 0]


def test_a_changed_second_image_changes_the_identity_of_a_post(tmp_path: Path) -> None:
    posts = {f"p{n}": [f"{n}", f"more {n}"] for n in range(12)}
    folder = tmp_path / "splits"
    before = join_posts(several_images(tmp_path / "one", posts))[1]
    after = join_posts(several_images(tmp_path / "two", posts | {"p1": ["1", "other"]}))[1]
    assert before.digest(2, 0) != after.digest(2, 0)
    assert before.keys[0] == after.keys[0]
    load_or_make_folds(before, folder, folds=2, seed=0)
    assert len([*folder.glob("*.json")]) == 1


def test_a_locked_test_post_is_known_by_any_of_its_images(tmp_path: Path) -> None:
    posts = {f"p{n}": [f"{n}", f"more {n}"] for n in range(20)}
    marked = mark_test_posts(join_posts(several_images(tmp_path / "one", posts))[1], tmp_path, share=0.2)
    locked = [row for row, split in enumerate(marked.splits) if split == "test"]
    assert locked
    other = {"q0": ["new", f"more {locked[0]}"], "q1": ["else", "where"]}
    with pytest.warns(Notice, match="4 posts that were set aside, 1 are in these data"):
        found = mark_test_posts(join_posts(several_images(tmp_path / "two", other, text=None))[1], tmp_path)
    assert found.splits == ["test", None]


def test_an_encoder_tuned_on_any_image_of_a_post_has_seen_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = several_images(tmp_path, {"p0": ["a", "b"], "p1": ["c"]})
    contents, posts = join_posts(corpus)
    second = split_keys(contents.joined("image")[0])[1]
    record = TunedRecord("x", "image", "s", None, 0, 0, ("a", "b"), trained=(second,), selected=())
    monkeypatch.setattr(seen, "record_of", lambda spec, cache: record)
    (found,) = seen.find_seen([EYE], tmp_path, contents, posts.groups)
    assert found.trained.tolist() == [True, False]


def test_sets_are_stored_once_for_posts_with_the_same_images() -> None:
    numbers = np.array([0, 1, -1, 2, 1, 0, 2, -1, 1])
    rows, sets = find_sets(numbers, [0, 1, 2, 3, 3], 3, one=False)
    assert sets == [(0, 1), (1, 0), (2, 1)]
    assert rows.tolist() == [3, 4, 2, 5]
    assert find_sets(numbers, [0, 1, 2, 3, 3], 3, one=True)[0].tolist() == [0, 1, 2, 2]


def test_imported_vectors_are_of_the_post(tmp_path: Path) -> None:
    """An import names posts, not images: its vector is the post's, whatever image another post shares with it."""
    spec = replace(EYE, source="import")
    posts = several_images(tmp_path / "several", {"p0": ["a", "b"], "p1": ["b"]})
    embed_drawn(tmp_path / "own", dict.fromkeys("ab", 2), spec)
    side = load(posts, tmp_path / "own", image=[spec]).image
    assert side is not None
    np.testing.assert_allclose(side.pooled[0], vectors_of("a", spec, tokens=2).mean(0), atol=1e-6)


def test_beyond_memory_the_mapped_features_are_the_same(tmp_path: Path) -> None:
    posts = {f"p{n}": [NAMES[n % 6], NAMES[(n * 5 + 1) % 6], NAMES[n % 4]][: n % 4] for n in range(24)}
    corpus = several_images(tmp_path, posts)
    embed_drawn(tmp_path / "cache", {name: 2 + number for number, name in enumerate(NAMES)})
    whole = load(corpus, tmp_path / "cache").image
    with pytest.warns(Notice, match="more than --memory"):
        mapped = load(corpus, tmp_path / "cache", memory=1000).image
    assert whole is not None
    assert mapped is not None
    np.testing.assert_array_equal(whole.pooled, mapped.pooled)
    for row in range(len(posts)):
        np.testing.assert_array_equal(whole.tokens.row(row), mapped.tokens.row(row))  # type: ignore[union-attr]


def test_image_and_text_together_are_read_once_for_each_image(tmp_path: Path) -> None:
    joint = replace(EYE, name="joint", modality="text", preprocess='{"joint":true}')
    assert joint.reads == "post"
    corpus = several_images(tmp_path, {"p0": ["a", "b"], "p1": ["a"], "p2": ["", "b"]})
    contents = hash_corpus(corpus)
    keys = contents.keys("post")
    texts = [text_key(f"words p{n}") for n in (0, 1, 2, 0, 2)]
    images = [None if not name else content_key(name.encode()) for name in ("a", "a", "", "b", "b")]
    assert keys == [post_key(*both) for both in zip(images, texts, strict=True)]
    writer = Writer(Store.open(tmp_path / "cache", joint), tokens=False)
    vectors = {key: np.full(4, number, np.float32) for number, key in enumerate(keys) if key}
    for key, vector in vectors.items():
        writer.add(key, vector, None)
    writer.flush()
    side = load(corpus, tmp_path / "cache", image=[], text=[joint], tokens=False).text
    assert side is not None
    assert side.pooled[:, 0].tolist() == [1.5, 1.0, 4.0]
    assert contents.parts([str(keys[3])]) == {keys[3], images[3], texts[3]}
    assert [one.text for one in corpus.items("post")] == [f"words p{n}" for n in (0, 1, 2, 0, 2)]


def test_some_rows_of_a_feature_table_keep_their_number_of_images(tmp_path: Path) -> None:
    corpus = several_images(tmp_path, {"p0": ["a"], "p1": ["a", "b", "c"], "p2": ["b", "c"]})
    embed_drawn(tmp_path / "cache", dict.fromkeys("abc", 2))
    side = FeatureTable.of(load(corpus, tmp_path / "cache").image, None)[np.array([2, 0])].image
    assert side is not None
    assert side.tokens is not None
    assert side.images is not None
    assert (side.images.tolist(), side.tokens.lengths.tolist()) == ([2, 1], [4, 2])


def test_tuning_reads_the_first_image_that_is_there(tmp_path: Path) -> None:
    corpus = several_images(tmp_path, {"p0": ["", "b", "c"], "p1": ["a"], "p2": []})
    (tmp_path / "p0-1.jpg").write_bytes(picture((9, 9, 9)))
    contents = hash_corpus(corpus)
    inputs = PostInputs(corpus, contents, {"image": Colours()})  # type: ignore[dict-item]
    assert inputs.present(np.arange(3)).tolist() == [0, 1]
    assert inputs.prepare(0)["image"].shape == (4, 3)
    assert inputs.prepare(1) == inputs.prepare(2) == {}
    assert inputs.unreadable == {(1, "image")}
