"""Two stored runs are paired by post: the tests are those of their predictions, and invalid ones are not made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cached_posts import HEAD, QUICK, cached_posts, stage
from stored_runs import answers, store_run

from msa.pipeline.evaluation.paired_runs import compare_runs
from msa.pipeline.metrics.statistics import mcnemar
from msa.pipeline.runs.stored_run import StoredRun, read_run
from msa.pipeline.train_head import train_head


def results(path: Path, *folds: dict[str, tuple[str, str]], **more: object) -> StoredRun:
    return read_run(store_run(path, folds, **more))  # type: ignore[arg-type]


def test_the_tests_are_those_of_the_training_that_had_both_predictions(tmp_path: Path) -> None:
    """A run with pseudo-labels stores its tests against the same head without them, which is trained alone here."""
    posts = cached_posts(tmp_path)
    posts = replace(posts, samples=[*(replace(one, label=None) for one in posts.samples[:20]), *posts.samples[20:]])
    data, quick = stage(posts, folds=2, repeats=2), replace(QUICK, epochs=3)
    plain, semi = (
        train_head(posts, data, HEAD, quick, runs=tmp_path / "runs", unlabelled=how) for how in ("none", "self")
    )
    found = compare_runs(read_run(semi.run), read_run(plain.run))
    assert found.reason == ""
    assert found.posts == 100
    assert found.comparison == semi.evaluation.tests["supervised"]


def test_other_folds_of_the_same_posts_leave_mcnemars_test(tmp_path: Path) -> None:
    one = results(tmp_path / "one", answers(0, 20, wrong=[1, 3, 5, 7]), answers(20, 40))
    two = results(tmp_path / "two", answers(10, 40, wrong=[30]), answers(0, 10, wrong=[1]))
    found = compare_runs(one, two)
    assert (found.posts, found.reason) == (40, "their folds differ, so no t-test")
    assert found.comparison is not None
    assert set(found.comparison.corrected_t.values()) == {None}
    right = np.ones(40, np.int64)
    wrong_one, wrong_two = right.copy(), right.copy()
    wrong_one[[1, 3, 5, 7]] = 0
    wrong_two[[1, 30]] = 0
    assert found.comparison.mcnemar == mcnemar(right, wrong_one, wrong_two).mid
    assert (found.comparison.only_head, found.comparison.only_other) == (1, 3)
    assert found.comparison.difference["accuracy"] == pytest.approx(-2 / 40)


def test_other_repeats_are_compared_as_far_as_both_have_them(tmp_path: Path) -> None:
    folds = [answers(0, 20, wrong=[0]), answers(20, 40), answers(0, 10), answers(10, 40, wrong=[11, 12])]
    twice = results(tmp_path / "twice", *folds, repeats=[0, 0, 1, 1])
    once = results(tmp_path / "once", answers(0, 20), answers(20, 40, wrong=[33, 35]))
    found = compare_runs(twice, once)
    assert found.reason == "their folds differ, so no t-test"
    assert found.comparison is not None
    assert (found.comparison.only_head, found.comparison.only_other) == (2, 1)


def test_only_posts_with_the_same_label_and_content_are_compared(tmp_path: Path) -> None:
    one = results(tmp_path / "one", answers(0, 30, wrong=[29]))
    two = results(tmp_path / "two", {**answers(5, 40, wrong=[6]), "p9": ("pos", "neg")}, contents={"p20": "edited"})
    found = compare_runs(one, two)
    assert found.posts == 30 - 5 - 2
    assert found.reason == (
        "23 posts are common to the 30 and 35 tested, 2 more have another label or content, so no t-test"
    )
    assert found.comparison is not None
    assert (found.comparison.only_head, found.comparison.only_other) == (1, 1)


def test_runs_without_a_common_post_are_not_compared(tmp_path: Path) -> None:
    found = compare_runs(results(tmp_path / "one", answers(0, 20)), results(tmp_path / "two", answers(20, 40)))
    assert found.comparison is None
    assert found.reason == "0 posts are common to the 20 and 20 tested, so no test"


def test_the_interval_of_a_difference_resamples_groups_of_either_run(tmp_path: Path) -> None:
    """Posts of one group are drawn together, so that the bounds are wider than those of posts drawn alone."""
    folds = [answers(0, 40, wrong=[1, 2, 3, 4]), answers(40, 80)]
    other = [answers(0, 40), answers(40, 80, wrong=[50])]
    two = results(tmp_path / "two", *other)
    pairs = {f"p{number}": -1 for number in (1, 2, 3, 4)}
    alone, tied = (
        compare_runs(results(tmp_path / name, *folds, groups=groups), two).comparison
        for name, groups in (("alone", {}), ("tied", pairs))
    )
    assert alone
    assert tied
    assert alone.intervals["accuracy"].estimate == pytest.approx(alone.difference["accuracy"])
    assert (alone.intervals["accuracy"].groups, tied.intervals["accuracy"].groups) == (80, 77)
    assert tied.intervals["accuracy"].low < alone.intervals["accuracy"].low


def test_a_baseline_is_compared_by_its_stored_predictions(tmp_path: Path) -> None:
    one = results(tmp_path / "one", answers(0, 20), answers(20, 40), predicted={"linear": [0, 1, 2, 22]})
    other = results(tmp_path / "other", answers(0, 20, wrong=[7]), answers(20, 40))
    found = compare_runs(one, other, baseline="linear")
    assert found.reason == ""
    assert found.comparison
    assert (found.comparison.only_head, found.comparison.only_other) == (1, 4)
    assert found.comparison.corrected_t["accuracy"] is not None


def test_what_holds_no_heads_is_not_compared(tmp_path: Path) -> None:
    one = results(tmp_path / "one", answers(0, 20))
    with pytest.raises(ValueError, match="one holds no trained heads"):
        compare_runs(one, replace(one, predictions=None))
