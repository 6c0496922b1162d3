"""The data set's posts: predictions of heads that never saw them, filters, pages, pictures, and the nearest."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from served_runs import COLOURS, N, Served, picture, served_run

from msa.features.messages import Notice
from msa.features.posts.samples import Corpus
from msa.features.spec import BadItem
from msa.pipeline.serving.known_posts import PAGE_SIZE, KnownPosts, PostFilter


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return served_run(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def known(served: Served) -> KnownPosts:
    return served.known()


def rows(known: KnownPosts, **wanted: Any) -> list[int]:
    """The rows on all pages."""
    pages = known.find(PostFilter(**wanted), 1)["pages"]
    found = [known.find(PostFilter(**wanted), page) for page in range(1, pages + 1)]
    assert found[0]["total"] == sum(len(one["posts"]) for one in found)
    return [post["row"] for one in found for post in one["posts"]]


def test_predictions_are_those_that_the_run_stored(served: Served, known: KnownPosts) -> None:
    with (served.folder / "predictions.csv").open(encoding="utf-8-sig") as file:
        stored = {line["id"]: line for line in csv.DictReader(file)}
    for row, sample in enumerate(served.corpus.samples):
        post = known.describe(row)
        assert (post["id"], post["label"]) == (sample.id, sample.label)
        if line := stored.get(sample.id):
            assert post["predicted"] == line["predicted"]
            assert post["right"] is (line["predicted"] == line["label"])
            assert post["probabilities"] == pytest.approx({name: float(line[name]) for name in COLOURS}, abs=1e-5)
        else:
            assert (post["predicted"], post["right"], post["probabilities"]) == (None, None, None)
    assert len(stored) == N - 3


def test_a_post_that_has_changed_or_took_the_id_of_another_has_no_prediction(served: Served) -> None:
    changed = [*served.corpus.samples]
    changed[5] = replace(changed[5], text="another text altogether")
    with pytest.warns(Notice):
        known = KnownPosts(Corpus(served.corpus.root, "table", changed), served.folder, served.run)
    assert 5 not in known.scored
    assert len(known.scored) == N - 4


def test_filters_and_pages(known: KnownPosts) -> None:
    everything = rows(known)
    assert everything == [*range(N)]
    assert len(known.find(PostFilter(), 1)["posts"]) == PAGE_SIZE
    assert known.find(PostFilter(), 10**9) == known.find(PostFilter(), 2)
    assert rows(known, label="glad") == [row for row in range(3, N) if row % 3 == 1]
    right, wrong, unscored = (rows(known, outcome=name) for name in ("right", "wrong", "unscored"))
    assert sorted(right + wrong + unscored) == everything
    assert unscored == [0, 1, 2]
    assert wrong
    assert all(known.describe(row)["right"] is False for row in wrong)
    for name in COLOURS:
        assert rows(known, predicted=name, label=name) == [row for row in right if known.labels[row] == name]
    assert rows(known, search=" LOVELY day 1") == [row for row in (1, *range(10, 20)) if row % 3 == 1]
    assert rows(known, search="p17") == [17]
    assert rows(known, search="<SCRIPT>") == [N - 2, N - 1]
    assert known.find(PostFilter(search="nothing has this"), 1) == {"total": 0, "page": 1, "pages": 1, "posts": []}
    certain = [known.scored[row].max() for row in rows(known, order="certain")]
    assert certain == sorted(certain, reverse=True)
    assert len(certain) == N - 3
    assert rows(known, order="uncertain", label="calm")[0] == rows(known, order="certain", label="calm")[-1]


def test_pictures_are_small_copies_and_broken_ones_are_said(served: Served, known: KnownPosts) -> None:
    (served.corpus.root / "5.png").write_bytes(picture(COLOURS["upset"], 5, size=(2000, 1500)))
    try:
        for made, size in ((known.thumbnail(5), (320, 240)), (known.large(5), (1280, 960))):
            opened = Image.open(io.BytesIO(made))
            assert (opened.format, opened.size) == ("JPEG", size)
    finally:
        (served.corpus.root / "5.png").write_bytes(picture(COLOURS["upset"], 5))
    with pytest.raises(BadItem, match="a text that begins with 'no picture'"):
        known.thumbnail(N - 1)


def test_the_nearest_post_of_a_copy_is_the_post_itself(served: Served, known: KnownPosts) -> None:
    model, post = served.model(), served.corpus.samples[10]
    assert post.image is not None
    table, _ = model.features([model.prepare(post.image.read_bytes(), str(post.text))])
    found = known.nearest(table)
    assert (found[0]["row"], found[0]["similarity"]) == (10, 1.0)
    text_alone, _ = model.features([model.prepare(None, str(post.text))])
    assert known.nearest(text_alone)[0]["row"] == 10
    assert {one["row"] for one in found} <= {*range(3, N)}  # labelled posts alone


def test_posts_set_aside_are_neither_shown_nor_near(tmp_path: Path) -> None:
    served = served_run(tmp_path, folds=None, hold_out=0.2)
    known = served.known()
    assert known.set_aside > 0
    shown = rows(known)
    assert len(shown) == N - known.set_aside
    hidden = {*range(N)} - {*shown}
    assert all(row not in known for row in hidden)
    model = served.model()
    post = served.corpus.samples[min(hidden)]
    assert post.image is not None
    table, _ = model.features([model.prepare(post.image.read_bytes(), str(post.text))])
    assert not {one["row"] for one in known.nearest(table)} & hidden


def test_posts_without_features_are_browsed_without_the_nearest(served: Served) -> None:
    more = [*served.corpus.samples, replace(served.corpus.samples[3], id="new", text="never extracted")]
    with pytest.warns(Notice, match="nearest posts are not shown: 1 of .* items have no features"):
        known = KnownPosts(Corpus(served.corpus.root, "table", more), served.folder, served.run)
    assert len(rows(known)) == N + 1
    model = served.model()
    table, _ = model.features([model.prepare(None, "a lovely day")])
    assert known.nearest(table) == []


def test_long_texts_are_cut_in_lists_and_marks_that_turn_text_are_shown(served: Served) -> None:
    strange = [replace(one, text="a\u202eb" + "long " * 1000) for one in served.corpus.samples[:4]]
    with pytest.warns(Notice):
        known = KnownPosts(Corpus(served.corpus.root, "table", strange), served.folder, served.run)
    short, whole = known.describe(3, excerpt=True)["text"], known.describe(3)["text"]
    assert len(short) < 300 < len(whole)
    assert "\u202e" not in whole
    assert whole.startswith("a\\u202eb")


def test_vectors_have_length_one_or_none(known: KnownPosts) -> None:
    lengths = np.linalg.norm(known.vectors["image"], axis=1)
    assert set(np.round(lengths, 5)) == {0.0, 1.0}  # two posts have a broken picture
