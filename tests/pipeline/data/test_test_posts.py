"""Test posts are set aside once, recognised by their content, and in no fold, whatever the options."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msa.features.messages import Notice
from msa.pipeline.data.split import Posts, make_folds
from msa.pipeline.data.test_posts import mark_test_posts


def plain(n: int = 100, **changes: Any) -> Posts:
    labels: list[str | None] = ["a", "b"] * (n // 2)
    groups = np.arange(n) // 2
    return replace(
        Posts([f"p{i}" for i in range(n)], labels, groups, [None] * n, [(f"i{i}", f"t{i}") for i in range(n)]),
        **changes,
    )


def marked_rows(posts: Posts) -> list[int]:
    return [row for row, split in enumerate(posts.splits) if split == "test"]


def test_a_share_is_set_aside_once_in_whole_groups_and_stays_set_aside(tmp_path: Path) -> None:
    posts = plain()
    assert mark_test_posts(posts, tmp_path) == posts
    first = mark_test_posts(posts, tmp_path, share=0.2)
    rows = marked_rows(first)
    assert len(rows) == 20
    assert all(row ^ 1 in rows for row in rows)
    assert {posts.labels[row] for row in rows} == {"a", "b"}
    for again in (mark_test_posts(posts, tmp_path), mark_test_posts(posts, tmp_path, share=0.2)):
        assert marked_rows(again) == rows
    for fold in make_folds(first, folds=4, seed=0):
        assert not {*rows} & {int(i) for part in (fold.train, fold.valid, fold.test) for i in part}
    with pytest.raises(ValueError, match=r"a share of 0\.2 of these posts is set aside already"):
        mark_test_posts(posts, tmp_path, share=0.1)
    assert len(list(tmp_path.glob("test-set-*.json"))) == 1


def test_test_posts_are_recognised_by_content_not_by_id_or_file(tmp_path: Path) -> None:
    rows = marked_rows(mark_test_posts(plain(), tmp_path, share=0.2))
    renamed = plain(ids=[f"other{n}" for n in range(100)])
    assert marked_rows(mark_test_posts(renamed, tmp_path)) == rows
    grown = plain(120)
    assert marked_rows(mark_test_posts(grown, tmp_path)) == rows
    elsewhere = plain(contents=[(f"j{n}", f"u{n}") for n in range(100)])
    with pytest.warns(Notice, match="of the 20 posts that were set aside, 0 are in these data"):
        assert marked_rows(mark_test_posts(elsewhere, tmp_path)) == []
    copy = plain(120, groups=np.array([*np.arange(100) // 2, *[rows[0] // 2] * 20]))
    held = np.flatnonzero(mark_test_posts(copy, tmp_path).in_test_set).tolist()
    assert held == sorted([*rows, *range(100, 120)])  # copies of a test post are in no fold either


def test_test_posts_marked_in_the_data_are_used(tmp_path: Path) -> None:
    splits: list[str | None] = ["test"] * 10 + [None] * 90
    named = plain(splits=splits)
    with pytest.raises(ValueError, match="10 test posts of their own"):
        mark_test_posts(named, tmp_path, share=0.1)
    unlabelled = replace(named, labels=[None] * 10 + list(named.labels[10:]))
    assert len(marked_rows(mark_test_posts(unlabelled, tmp_path, share=0.1))) in (10 + 8, 10 + 10)
    for share in (-0.1, 0.6):
        with pytest.raises(ValueError, match=r"above 0 and at most 0\.5"):
            mark_test_posts(plain(), tmp_path / "new", share=share)


def test_a_damaged_list_of_test_posts_is_refused(tmp_path: Path) -> None:
    mark_test_posts(plain(), tmp_path, share=0.2)
    next(tmp_path.glob("test-set-*.json")).write_text("{}")
    with pytest.raises(ValueError, match="not a stored test set "):
        mark_test_posts(plain(), tmp_path)


def test_an_edited_text_or_a_removed_image_opens_no_test_post(tmp_path: Path) -> None:
    rows = marked_rows(mark_test_posts(plain(), tmp_path, share=0.2))
    marked = plain(contents=[(f"i{n}", f"t{n}!") for n in range(100)])
    textual = plain(contents=[(None, f"t{n}") for n in range(100)])
    for edited in (marked, textual):
        assert marked_rows(mark_test_posts(edited, tmp_path)) == rows
    some = plain(contents=[(f"i{n}", f"t{n}") if n in rows[:5] else (f"j{n}", f"u{n}") for n in range(100)])
    with pytest.warns(Notice, match="of the 20 posts that were set aside, 5 are in these data"):
        assert marked_rows(mark_test_posts(some, tmp_path)) == rows[:5]


def test_a_picture_that_open_posts_share_marks_none_of_them(tmp_path: Path) -> None:
    shared = plain(contents=[("none", f"t{n}") for n in range(100)], tied=("text",))
    rows = marked_rows(mark_test_posts(shared, tmp_path, share=0.2))
    assert len(rows) == 20
    assert marked_rows(mark_test_posts(shared, tmp_path)) == rows


def test_an_emptied_test_set_is_refused(tmp_path: Path) -> None:
    mark_test_posts(plain(), tmp_path, share=0.2)
    path = next(tmp_path.glob("test-set-*.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image": [], "text": []}))
    with pytest.raises(ValueError, match="without posts; restore it"):
        mark_test_posts(plain(), tmp_path)


def test_a_test_set_that_leaves_too_little_to_train_on_is_not_stored(tmp_path: Path) -> None:
    few = plain(4, groups=np.arange(4))
    with pytest.raises(ValueError, match="got 2 in 2 posts beside 2 test posts"):
        mark_test_posts(few, tmp_path, share=0.5, check=lambda marked: make_folds(marked, folds=None, seed=0))
    for nothing in (plain(contents=[("i", "t")] * 100), plain(labels=[None] * 100)):
        with pytest.raises(ValueError, match="leave --hold-out away"):
            mark_test_posts(nothing, tmp_path, share=0.2)
    assert not list(tmp_path.iterdir())
