"""What a split leaves out or lacks is counted; a split that lacks nothing says nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msa.features.spec import Modality
from msa.pipeline.data.split import Posts, make_folds
from msa.pipeline.data.split_notices import describe_split

BOTH: set[Modality] = {"image", "text"}


def posts(n: int = 100) -> Posts:
    contents = [(f"i{row}", f"t{row}") for row in range(n)]
    return Posts([f"p{row}" for row in range(n)], ["a", "b"] * (n // 2), np.arange(n), [None] * n, contents)


def lines(given_posts: Posts, folds: int | None = None, used: set[Modality] = BOTH) -> list[str]:
    return list(describe_split(given_posts, make_folds(given_posts, folds=folds, seed=0), used))


def test_an_ordinary_split_says_nothing() -> None:
    assert lines(posts()) == lines(posts(), 5) == []


def test_rows_that_leak_protection_drops_are_counted() -> None:
    splits = ["test"] * 20 + ["val"] * 20 + ["train"] * 60
    groups = np.arange(100)
    groups[[50, 51, 52]] = groups[[0, 1, 1]]  # training posts with the content of test posts
    groups[[60, 61]] = groups[20]  # and of a val post
    found = lines(replace(posts(), splits=splits, groups=groups))
    assert found == [
        "3 posts share content with a test post and are in no fold",
        "2 training posts share content with a post of split 'val' and are left out",
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=100, max_size=100), st.sampled_from([None, 3]), st.integers(0, 3))
def test_every_labelled_post_is_in_a_fold_or_a_test_post_or_counted(
    groups: list[int], folds: int | None, seed: int
) -> None:
    splits = (["test"] * 3 + ["val"] * 5 + ["train"] * 12) * 5
    given_posts = replace(posts(), groups=np.array(groups), splits=splits)
    try:
        made = make_folds(given_posts, folds=folds, seed=seed)
    except ValueError:
        return  # too few groups are left
    placed = {int(row) for fold in made for row in [*fold.rest, *fold.test]}
    counted = sum(
        int(line.split()[0]) for line in describe_split(given_posts, made, BOTH) if "posts share content with" in line
    )
    assert len(placed) + splits.count("test") + counted == 100


def test_a_group_larger_than_a_part_is_pointed_out() -> None:
    tied = replace(posts(), groups=np.array([*[0] * 40, *range(1, 61)]))
    (found,) = lines(tied, 5)
    assert found == "40 of 100 posts share content, more than one part should hold; test rows: 15 to 40"
    assert lines(replace(posts(), groups=np.array([*[0] * 11, *range(1, 90)])), 5) == []


def test_a_class_that_a_fold_lacks_is_named_with_its_count_and_the_option_that_cures_it() -> None:
    rare = replace(posts(), labels=["a", "b"] * 49 + ["love"] * 2)
    train, *_ = found = lines(rare, 5)
    assert len(found) == 1
    assert "no posts to score of class 'love' (2 posts, 3 of 5 folds)" in train
    assert "--min-per-class 3" in train
    only_val = replace(posts(), splits=["val"] * 20 + ["train"] * 80, labels=["c"] * 6 + ["a", "b"] * 47)
    assert any("no posts to train on of class 'c' (6 posts, 1 of 1 folds)" in line for line in lines(only_val))
    many = replace(posts(), labels=["a"] * 50 + [f"c{row}" for row in range(50)][:48] + ["b"] * 2)
    assert any("50 classes in 100 posts; are the labels in another column?" in line for line in lines(many, 2))
    assert "and 45 more classes" in "\n".join(lines(many, 2))


def test_classes_that_only_test_posts_have_are_named() -> None:
    splits = ["test"] * 20 + ["train"] * 80
    labels = ["neg", "pos"] * 10 + ["a", "b"] * 40
    (found,) = lines(replace(posts(), splits=splits, labels=labels))
    assert found.startswith("only posts of split 'test' are of class 'neg' (10 posts), 'pos' (10 posts), which")
    assert lines(replace(posts(), splits=splits, labels=[None] * 20 + labels[20:])) == []


def test_shared_content_that_is_not_tied_is_counted_where_it_is_used() -> None:
    shared = replace(posts(), contents=[("none", f"t{row}") for row in range(100)], tied=("text",))
    assert lines(shared, used={"text"}) == []
    assert lines(shared) == ["20 of the scored posts share their image with a training post, as --group-by allows"]


@pytest.mark.parametrize("folds", [None, 5])
def test_all_posts_in_one_group_are_refused_with_what_ties_them(folds: int | None) -> None:
    with pytest.raises(ValueError, match=r"100 posts form 1 groups .* the largest of 100; too few .* --group-by"):
        lines(replace(posts(), groups=np.zeros(100, np.int64)), folds)
    with pytest.raises(ValueError, match="no training post is left beside 100 of split 'val'"):
        lines(replace(posts(), splits=["val"] * 100))
