"""Splits never part duplicates, never mix roles, never touch test rows, and stay as they were stored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from msa.features.store.json_files import write_json
from msa.pipeline.data.split import (
    Fold,
    Posts,
    describe_folds,
    ensemble_folds,
    inner_folds,
    load_or_make_folds,
    make_folds,
    read_folds,
    take_share,
)


def posts(labels: list[str | None], groups: list[int] | None = None, splits: list[str | None] | None = None) -> Posts:
    n = len(labels)
    return Posts([f"p{i}" for i in range(n)], labels, np.array(groups or range(n)), splits or [None] * n)


def roles(fold: Fold) -> list[np.ndarray]:
    return [fold.train, fold.valid, fold.test]


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=60, max_size=120),
    folds=st.sampled_from([None, 2, 3, 5]),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_folds_are_disjoint_whole_and_keep_duplicates_together(
    labels: list[str | None], folds: int | None, seed: int, data: st.DataObject
) -> None:
    groups = data.draw(st.lists(st.integers(0, 50), min_size=len(labels), max_size=len(labels)))
    counts = [sum(label == name for label in labels) for name in "abc"]
    assume(max(counts) >= 15 and all(count >= 2 for count in counts))
    given_posts = posts(labels, groups)
    try:
        made = make_folds(given_posts, folds=folds, seed=seed)
    except ValueError:
        assume(False)  # duplicates tie so many posts together that no such split exists
    assert len(made) == (folds or 1)
    labelled = {i for i, label in enumerate(labels) if label is not None}
    for fold in made:
        seen = [set(role.tolist()) for role in roles(fold)]
        assert set().union(*seen) == labelled
        assert sum(map(len, seen)) == len(labelled)
        owners = [{groups[i] for i in rows} for rows in seen]
        assert owners[0].isdisjoint(owners[1] | owners[2])
        assert owners[1].isdisjoint(owners[2])
    if folds:
        tested = np.concatenate([fold.test for fold in made])
        assert sorted(tested.tolist()) == sorted(labelled)


def test_each_part_holds_the_classes_in_proportion() -> None:
    labels: list[str | None] = ["a"] * 300 + ["b"] * 150 + ["c"] * 50
    for fold in make_folds(posts(labels), folds=5, seed=1):
        for rows in roles(fold):
            share = np.mean([labels[i] == "a" for i in rows])
            assert share == pytest.approx(0.6, abs=0.06)


def test_test_rows_and_their_copies_are_in_no_fold() -> None:
    labels: list[str | None] = ["a", "b"] * 40
    splits: list[str | None] = ["test"] * 10 + [None] * 70
    groups = list(range(80))
    groups[50] = groups[3]  # a copy of a test post among the open ones
    for folds in (None, 4):
        for fold in make_folds(posts(labels, groups, splits), folds=folds, seed=0):
            assert not ({*range(10), 50} & {int(i) for rows in roles(fold) for i in rows})


def test_the_users_own_validation_rows_are_tested_and_their_copies_are_not_trained_on() -> None:
    labels: list[str | None] = ["a", "b"] * 40
    splits: list[str | None] = ["train"] * 60 + ["val"] * 20
    groups = list(range(80))
    groups[5] = groups[70]
    (fold,) = make_folds(posts(labels, groups, splits), folds=None, seed=0)
    assert fold.test.tolist() == list(range(60, 80))
    assert 5 not in {*fold.train.tolist(), *fold.valid.tolist()}


def test_posts_that_are_all_marked_for_validation_are_refused_in_one_line() -> None:
    with pytest.raises(
        ValueError, match=r"beside 8 of split 'val' \(0 share content .*mark some as 'train', or use --folds"
    ):
        make_folds(posts(list("abababab"), splits=["val"] * 8), folds=None, seed=0)
    with pytest.raises(ValueError, match="2 share content with these"):
        make_folds(
            posts(list("abab"), groups=[0, 1, 0, 1], splits=["val", "val", "train", "train"]), folds=None, seed=0
        )
    assert len(make_folds(posts(list("abababab"), splits=["val"] * 8), folds=2, seed=0)) == 2


def test_the_same_posts_meet_the_stored_folds(tmp_path: Path) -> None:
    given_posts = posts(["a", "b"] * 50)
    first = load_or_make_folds(given_posts, tmp_path, folds=5, seed=3)
    (stored,) = tmp_path.iterdir()
    again = load_or_make_folds(given_posts, tmp_path, folds=5, seed=3)
    assert all((a.test == b.test).all() for a, b in zip(first, again, strict=True))
    stored.write_text(stored.read_text().replace("p0", "p999"))
    with pytest.raises(ValueError, match="not a stored split"):
        load_or_make_folds(given_posts, tmp_path, folds=5, seed=3)
    load_or_make_folds(posts(["b", "a"] * 50), tmp_path, folds=5, seed=3)
    load_or_make_folds(given_posts, tmp_path, folds=5, seed=4)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_split_of_another_name_is_refused_and_not_trained_on() -> None:
    splits: list[str | None] = ["train"] * 60 + ["exam"] * 20
    with pytest.raises(ValueError, match="'exam'; rename them in the file, or rename its column"):
        make_folds(posts(["a", "b"] * 40, splits=splits), folds=None, seed=0)


def test_ensemble_members_share_test_rows_and_differ_in_validation_rows() -> None:
    given_posts = posts(["a", "b"] * 60, [n // 2 for n in range(120)])
    fold = make_folds(given_posts, folds=5, seed=0)[2]
    members = ensemble_folds(given_posts, fold, count=10, seed=0)
    assert members[0] is fold
    eleven = ensemble_folds(given_posts, fold, count=11, seed=0)
    assert eleven[10] is fold
    assert all(np.array_equal(one.valid, other.valid) for one, other in zip(eleven, members, strict=False))
    rest = sorted([*fold.train.tolist(), *fold.valid.tolist()])
    assert sorted(np.concatenate([member.valid for member in members]).tolist()) == rest
    for member in members:
        assert (member.test == fold.test).all()
        assert sorted([*member.train.tolist(), *member.valid.tolist()]) == rest
        assert not {n // 2 for n in member.train} & {n // 2 for n in member.valid}
    few = posts(["a", "b"] * 5)
    with pytest.raises(ValueError, match="too few for an ensemble of 9"):
        ensemble_folds(few, make_folds(few, folds=None, seed=0)[0], count=9, seed=0)


def test_few_posts_are_split_too() -> None:
    (fold,) = make_folds(posts(["a", "b"] * 5), folds=None, seed=0)
    assert all(len(rows) for rows in roles(fold))


@pytest.mark.parametrize(
    ("labels", "folds", "message"),
    [
        ([None] * 20, 5, "no labelled posts"),
        (["a"] * 40, 5, r"two classes of two posts .* got 1 in 40 posts: 'a' \(40\)"),
        (["a"] * 40 + ["b"], 5, r"got 2 in 41 posts: 'a' \(40\), 'b' \(1\)"),
        (["a", "a", "b", "b"], 5, "4 posts form 4 groups .* the largest of 1; too few for 5 parts; use --folds 4"),
        (["a", "b"] * 40, 10**12, r"too few for 1000000000000 parts; use --folds 80 .*--outer"),
        (["a", "b"] * 40, 1, "2 or more"),
    ],
)
def test_what_cannot_be_split_is_refused(labels: list[str | None], folds: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_folds(posts(labels), folds=folds, seed=0)


@settings(max_examples=6, deadline=None)
@given(
    groups=st.lists(st.integers(0, 120), min_size=120, max_size=130),
    folds=st.sampled_from([2, 3]),
    seed=st.integers(0, 5),
)
def test_inner_folds_and_ensemble_members_have_no_test_rows(groups: list[int], folds: int, seed: int) -> None:
    given_posts = posts(["a", "b", "a"] * (len(groups) // 3) + ["a"] * (len(groups) % 3), groups)
    try:
        outer = make_folds(given_posts, folds=2, seed=seed)
        inner_folds_of = [inner_folds(given_posts, fold, folds=folds, seed=seed) for fold in outer]
    except ValueError:
        assume(False)  # too few groups
    for fold, inner in zip(outer, inner_folds_of, strict=True):
        closed = {groups[i] for i in fold.test}
        rest = sorted([*fold.train.tolist(), *fold.valid.tolist()])
        assert sorted(np.concatenate([one.test for one in inner]).tolist()) == rest
        for one in inner:
            seen = [set(role.tolist()) for role in roles(one)]
            assert sorted(set().union(*seen)) == rest
            assert not {groups[i] for i in rest} & closed
            owners = [{groups[i] for i in rows} for rows in seen]
            assert owners[0].isdisjoint(owners[1] | owners[2])
            assert owners[1].isdisjoint(owners[2])
    with pytest.raises(ValueError, match="2 or more; got 1"):
        inner_folds(given_posts, outer[0], folds=1, seed=0)


def test_repeats_split_the_same_rows_otherwise_and_more_of_them_keep_the_first(tmp_path: Path) -> None:
    given_posts = posts(["a", "b"] * 60, [n // 2 for n in range(120)])
    three = load_or_make_folds(given_posts, tmp_path, folds=4, seed=3, repeats=3)
    assert [fold.repeat for fold in three] == [0] * 4 + [1] * 4 + [2] * 4
    assert len(list(tmp_path.iterdir())) == 3
    parts = []
    for number in range(3):
        mine = [fold for fold in three if fold.repeat == number]
        assert sorted(np.concatenate([fold.test for fold in mine]).tolist()) == list(range(120))
        parts.append({frozenset(fold.test.tolist()) for fold in mine})
    assert parts[0].isdisjoint(parts[1] | parts[2])
    assert parts[1].isdisjoint(parts[2])
    for made in (
        load_or_make_folds(given_posts, tmp_path, folds=4, seed=3),
        load_or_make_folds(given_posts, tmp_path, folds=4, seed=3, repeats=2),
    ):
        for one, two in zip(made, three, strict=False):
            assert one.repeat == two.repeat
            assert all(np.array_equal(a, b) for a, b in zip(roles(one), roles(two), strict=True))
    assert len(list(tmp_path.iterdir())) == 3
    members = ensemble_folds(given_posts, three[5], count=10, seed=3)
    assert sorted(np.concatenate([m.valid for m in members]).tolist()) == sorted(
        [*three[5].train.tolist(), *three[5].valid.tolist()]
    )
    assert {member.repeat for member in members} == {1}
    with pytest.raises(ValueError, match="--folds 5"):
        load_or_make_folds(given_posts, tmp_path, folds=None, seed=0, repeats=2)
    with pytest.raises(ValueError, match="1 or more; got 0"):
        load_or_make_folds(given_posts, tmp_path, folds=4, seed=0, repeats=0)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.sampled_from("abc"), min_size=30, max_size=90),
    shares=st.lists(st.floats(0.01, 1), min_size=2, max_size=4),
    seed=st.integers(0, 3),
    data=st.data(),
)
def test_shares_are_nested_whole_groups_of_every_class(
    labels: list[str], shares: list[float], seed: int, data: st.DataObject
) -> None:
    groups = data.draw(st.lists(st.integers(0, 30), min_size=len(labels), max_size=len(labels)))
    given_posts = posts(list(labels), groups)
    rows = np.arange(0, len(labels), 2)
    taken: set[int] = set()
    for share in sorted(shares):
        larger = take_share(given_posts, rows, share, seed=seed)
        assert taken <= set(larger.tolist()) <= set(rows.tolist())
        taken = set(larger.tolist())
        inside = {groups[i] for i in taken}
        assert taken == {i for i in rows.tolist() if groups[i] in inside}
    assert take_share(given_posts, rows, 1, seed=seed).tolist() == rows.tolist()


def test_a_share_is_about_that_share_of_each_class() -> None:
    given_posts = posts(["a"] * 300 + ["b"] * 100)
    taken = take_share(given_posts, np.arange(400), 0.2, seed=0)
    assert ((taken < 300).sum(), (taken >= 300).sum()) == (60, 20)
    few = take_share(given_posts, np.arange(299, 400), 0.001, seed=0)
    assert ((few < 300).sum(), (few >= 300).sum()) == (1, 1)
    with pytest.raises(ValueError, match="got 0"):
        take_share(given_posts, np.arange(400), 0, seed=0)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("[]", "the file must be an object; got a list"),
        ("{}", "'folds' is missing"),
        ('{"format": 2}', "format 2, but"),
    ],
)
def test_a_split_of_another_format_is_refused(tmp_path: Path, content: str, found: str) -> None:
    given_posts = posts(["a", "b"] * 50)
    load_or_make_folds(given_posts, tmp_path, folds=5, seed=3)
    (stored,) = tmp_path.iterdir()
    assert json.loads(stored.read_text())["format"] == 1
    stored.write_text(content)
    with pytest.raises(ValueError, match=rf"not a stored split \(.*{found}.*\); delete it or train again"):
        load_or_make_folds(given_posts, tmp_path, folds=5, seed=3)


def test_posts_that_changed_are_not_those_of_a_stored_split(tmp_path: Path) -> None:
    before = replace(posts(["a", "b"] * 20), contents=[(f"i{n}", f"t{n}") for n in range(40)])
    path = tmp_path / "split.json"
    write_json(path, describe_folds(before, make_folds(before, folds=4, seed=0), folds=4, seed=0))
    pairs = zip(read_folds(path, before)[0], make_folds(before, folds=4, seed=0), strict=True)
    assert all(np.array_equal(a.train, b.train) for a, b in pairs)
    edited = replace(before, contents=[*before.contents[:-1], ("i39", "new")])
    with pytest.raises(ValueError, match=r"'p39' is gone or has changed \(1 in all\)"):
        read_folds(path, edited)
    fewer = posts(["a", "b"] * 19)
    with pytest.raises(ValueError, match=r"has changed \(2 in all\)"):
        read_folds(path, fewer)
    path.write_text('{"format": 1, "folds": []}')
    with pytest.raises(ValueError, match="not a stored split"):
        read_folds(path, before)
    assert before.digest(5, 0) != edited.digest(5, 0)
