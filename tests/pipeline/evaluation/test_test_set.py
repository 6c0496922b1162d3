"""Test posts: in no fold, whatever the options; evaluated by one command only, which counts how often."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cached_posts import HEAD, QUICK, N, cached_posts, stage

from msa.pipeline.data.prepare import prepare
from msa.pipeline.data.split import Posts, make_folds
from msa.pipeline.data.test_posts import mark_test_posts
from msa.pipeline.evaluation.reevaluate import evaluate_run
from msa.pipeline.evaluation.test_set import evaluate_test_set
from msa.pipeline.metrics.scores import score
from msa.pipeline.runs.run_predictions import run_probabilities
from msa.pipeline.runs.runs import load_run
from msa.pipeline.train_head import train_head


def plain(n: int = 100, **changes: Any) -> Posts:
    labels: list[str | None] = ["a", "b"] * (n // 2)
    groups = np.arange(n) // 2
    return replace(
        Posts([f"p{i}" for i in range(n)], labels, groups, [None] * n, [f"c{i}" for i in range(n)]), **changes
    )


def locked_rows(posts: Posts) -> list[int]:
    return [row for row, split in enumerate(posts.splits) if split == "test"]


def test_a_share_is_set_aside_once_in_whole_groups_and_stays_set_aside(tmp_path: Path) -> None:
    posts = plain()
    assert mark_test_posts(posts, tmp_path) == posts
    first = mark_test_posts(posts, tmp_path, share=0.2)
    rows = locked_rows(first)
    assert len(rows) == 20
    assert all(row ^ 1 in rows for row in rows)
    assert {posts.labels[row] for row in rows} == {"a", "b"}
    for again in (mark_test_posts(posts, tmp_path), mark_test_posts(posts, tmp_path, share=0.2)):
        assert locked_rows(again) == rows
    for fold in make_folds(first, folds=4, seed=0):
        assert not {*rows} & {int(i) for part in (fold.train, fold.valid, fold.test) for i in part}
    with pytest.raises(ValueError, match=r"a share of 0\.2 of these posts is set aside already"):
        mark_test_posts(posts, tmp_path, share=0.1)
    assert len(list(tmp_path.glob("test-set-*.json"))) == 1


def test_test_posts_are_recognised_by_content_not_by_id_or_file(tmp_path: Path) -> None:
    rows = locked_rows(mark_test_posts(plain(), tmp_path, share=0.2))
    renamed = plain(ids=[f"other{n}" for n in range(100)])
    assert locked_rows(mark_test_posts(renamed, tmp_path)) == rows
    grown = plain(120)
    assert locked_rows(mark_test_posts(grown, tmp_path)) == rows
    elsewhere = plain(contents=[f"d{n}" for n in range(100)])
    assert locked_rows(mark_test_posts(elsewhere, tmp_path)) == []
    copy = plain(120, groups=np.array([*np.arange(100) // 2, *[rows[0] // 2] * 20]))
    held = np.flatnonzero(mark_test_posts(copy, tmp_path).in_test_set).tolist()
    assert held == sorted([*rows, *range(100, 120)])  # copies of a locked post are in no fold either


def test_test_posts_marked_in_the_data_are_used(tmp_path: Path) -> None:
    splits: list[str | None] = ["test"] * 10 + [None] * 90
    named = plain(splits=splits)
    with pytest.raises(ValueError, match="10 test posts of their own"):
        mark_test_posts(named, tmp_path, share=0.1)
    unlabelled = replace(named, labels=[None] * 10 + list(named.labels[10:]))
    assert len(locked_rows(mark_test_posts(unlabelled, tmp_path, share=0.1))) == 10 + 10
    for share in (-0.1, 0.6):
        with pytest.raises(ValueError, match=r"above 0 and at most 0\.5"):
            mark_test_posts(plain(), tmp_path / "new", share=share)


def test_a_damaged_list_of_test_posts_is_refused(tmp_path: Path) -> None:
    mark_test_posts(plain(), tmp_path, share=0.2)
    next(tmp_path.glob("test-set-*.json")).write_text("{}")
    with pytest.raises(ValueError, match="not a stored test set "):
        mark_test_posts(plain(), tmp_path)


def test_evaluations_on_the_test_posts_are_counted(tmp_path: Path) -> None:
    posts = cached_posts(tmp_path)
    early = train_head(posts, stage(posts), HEAD, QUICK, runs=tmp_path / "runs", name="early").run
    with pytest.raises(ValueError, match=r"no labelled post is a test post; .*--hold-out 0\.1"):
        evaluate_test_set(early, posts)
    run = train_head(posts, stage(posts, hold_out=0.2), HEAD, QUICK, runs=tmp_path / "runs").run
    table, folds, _ = prepare(posts, stage(posts), HEAD, seed=0)  # without --hold-out
    rows = locked_rows(table.posts)
    assert len(rows) == pytest.approx(0.2 * N, abs=4)
    assert not {*rows} & {int(i) for fold in folds for i in [*fold.train, *fold.valid, *fold.test]}
    first = evaluate_test_set(run, posts)
    predicted = run_probabilities(load_run(run), table)[rows]
    assert first.metrics == score(table.targets()[rows], predicted.argmax(1), table.classes)
    assert (first.evaluations, first.rows) == (1, len(rows))
    assert "for the first time" in first.to_text()
    fewer = replace(posts, samples=[s for s in posts.samples if s.id != f"p{rows[0]}"])
    for count, data in ((2, posts), (3, fewer)):
        found = evaluate_test_set(run, data)
        assert found.evaluations == count
        assert f"{count} times" in found.to_text()
    lines = [json.loads(line) for line in (tmp_path / "cache/splits/test_evaluations.jsonl").read_text().splitlines()]
    assert [line["evaluation"] for line in lines] == [1, 2, 3]
    assert lines[0]["metrics"] == first.metrics
    assert lines[0]["run"] == str(run.resolve())
    assert json.loads(json.dumps(first.to_dict()))["evaluations"] == 1
    with pytest.raises(ValueError, match=f"trained or scored on {len(rows)} of the {len(rows)} test posts"):
        evaluate_test_set(early, posts)
    with pytest.raises(ValueError, match=f"{len(rows)} of its {N} test rows are test posts by now"):
        evaluate_run(early, posts)
    assert len((tmp_path / "cache/splits/test_evaluations.jsonl").read_text().splitlines()) == 3


def test_test_posts_of_another_file_are_recognised_by_content_not_by_id(tmp_path: Path) -> None:
    """Row numbers used as ids name different posts in each file; a copied post is a duplicate under any id."""
    posts = cached_posts(tmp_path)
    train = replace(posts, samples=posts.samples[:90])
    run = train_head(train, stage(posts), HEAD, QUICK, runs=tmp_path / "runs").run
    others = [replace(s, id=f"p{n}", split="test") for n, s in enumerate(posts.samples[90:])]
    assert evaluate_test_set(run, replace(posts, samples=others)).rows == 30
    leaked = [*others[:-1], replace(posts.samples[3], id="p29", split="test")]
    with pytest.raises(ValueError, match="trained or scored on 1 of the 30 test posts"):
        evaluate_test_set(run, replace(posts, samples=leaked))
    strange = [replace(others[0], label="z"), *others[1:]]
    with pytest.raises(ValueError, match="labels that the run does not know: 'z'"):
        evaluate_test_set(run, replace(posts, samples=strange))
