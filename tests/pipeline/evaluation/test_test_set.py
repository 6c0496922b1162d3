"""Test posts are evaluated by one command only, which counts how often."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from cached_posts import HEAD, QUICK, N, cached_posts, stage

from msa.features.messages import Notice
from msa.pipeline.data.prepare import prepare
from msa.pipeline.evaluation.reevaluate import evaluate_run
from msa.pipeline.evaluation.test_set import evaluate_test_set
from msa.pipeline.metrics.probabilities import mean_probabilities
from msa.pipeline.metrics.scores import score
from msa.pipeline.metrics.statistics import calibration_error, reliability
from msa.pipeline.runs.run_predictions import run_logits
from msa.pipeline.runs.runs import cache_of, load_run
from msa.pipeline.train_head import train_head


def test_evaluations_on_the_test_posts_are_counted(tmp_path: Path) -> None:
    posts = cached_posts(tmp_path)
    early = train_head(posts, stage(posts), HEAD, QUICK, runs=tmp_path / "runs", name="early").run
    with pytest.raises(ValueError, match=r"no labelled post is a test post; .*--hold-out 0\.1"):
        evaluate_test_set(early, posts)
    run = train_head(posts, stage(posts, hold_out=0.2), HEAD, QUICK, runs=tmp_path / "runs").run
    table, folds, _ = prepare(posts, stage(posts), HEAD, seed=0)  # without --hold-out
    rows = [row for row, split in enumerate(table.posts.splits) if split == "test"]
    assert len(rows) == pytest.approx(0.2 * N, abs=4)
    assert not {*rows} & {int(i) for fold in folds for i in [*fold.train, *fold.valid, *fold.test]}
    first = evaluate_test_set(run, posts)
    stored, truth = load_run(run), table.targets()[rows]
    logits = [one[rows] for one in run_logits(stored, table)]
    assert first.metrics == score(truth, mean_probabilities(logits).argmax(1), table.classes)
    calibrated = mean_probabilities(logits, stored.temperatures)
    assert first.calibration_error == calibration_error(reliability(calibrated, truth))
    assert (first.evaluations, first.rows) == (1, len(rows))
    assert "for the first time" in first.to_text()
    fewer = replace(posts, samples=[s for s in posts.samples if s.id != f"p{rows[0]}"])
    for count, data in ((2, posts), (3, fewer)):
        with warnings.catch_warnings(action="ignore", category=Notice):  # one of the test posts is not in `fewer`
            found = evaluate_test_set(run, data)
        assert found.evaluations == count
        assert f"{count} times" in found.to_text()
    lines = [json.loads(line) for line in (tmp_path / "cache/splits/test_evaluations.jsonl").read_text().splitlines()]
    assert [line["evaluation"] for line in lines] == [1, 2, 3]
    assert lines[0]["metrics"] == first.metrics
    assert lines[0]["run"] == "../../runs/gated"
    assert json.loads(json.dumps(first.to_dict()))["evaluations"] == 1
    for file in (tmp_path / "cache/splits").glob("test-set-*.json"):
        file.rename(tmp_path / file.name)
    with pytest.warns(Notice, match=r"lacks test-set-\w+\.json, which names the posts that were set aside"):
        assert cache_of(load_run(run), None) == load_run(run).cache
    for file in tmp_path.glob("test-set-*.json"):
        file.rename(tmp_path / "cache/splits" / file.name)
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
    with pytest.warns(Notice, match="1 test posts are left out: the run does not know their labels 'z'"):
        assert evaluate_test_set(run, replace(posts, samples=strange)).rows == 29
