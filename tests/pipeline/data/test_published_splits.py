"""Published train, dev and test files: test posts are locked, dev posts are scored, folds draw on the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from msa.features.posts.layouts import ReadOptions, read_corpus
from msa.pipeline.data.join import join_posts
from msa.pipeline.data.split import Posts, make_folds
from tests.shared import published


@pytest.fixture
def posts(tmp_path: Path) -> Posts:
    published.write_twitter(tmp_path, more=20)
    columns = {"label": "#2", "image": "#3", "text": "#4+#5"}
    options = ReadOptions(columns=columns, images=tmp_path / "twitter2015_images")
    return join_posts(read_corpus(tmp_path / "twitter2015", options=options))[1]


def test_the_dev_posts_are_scored_and_the_test_posts_locked(posts: Posts) -> None:
    [fold] = make_folds(posts, folds=None, seed=0)
    assert {posts.splits[row] for row in fold.rest} == {"train"}
    assert len(fold.rest) == 23
    assert [posts.ids[row] for row in fold.test] == [f"dev/{number}" for number in range(1, 22)]
    assert [posts.splits[row] for row in posts.in_test_set.nonzero()[0]] == ["test"] * 21


def test_ten_folds_draw_on_train_and_dev_and_never_part_a_tweet(posts: Posts) -> None:
    folds = make_folds(posts, folds=10, seed=0)
    tested = sorted(int(row) for fold in folds for row in fold.test)
    assert [posts.splits[row] for row in tested] == ["train"] * 23 + ["val"] * 21
    assert all(len({0, 1} & {*fold.test.tolist()}) != 1 for fold in folds)
