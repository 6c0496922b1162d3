"""Curves: more and more posts lose a modality, more and more training rows are used, the test rows stay the same."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cached_posts import HEAD, QUICK, N, cached_posts, stage

from msa.pipeline.data.split import Fold
from msa.pipeline.evaluation import curves
from msa.pipeline.evaluation.curves import FoldLogits, learning_curve, missing_curve, read_shares
from msa.pipeline.train_head import train_head
from msa.pipeline.training.folds import train_folds


def test_a_post_without_a_modality_at_one_share_lacks_it_at_larger_ones() -> None:
    """Whole logits are right and logits without the image wrong, so accuracy counts the posts that still have it."""
    labels = np.arange(40) % 2
    parts = [np.arange(0, 20), np.arange(20, 40)]
    folds = [Fold(parts[1 - n][:10], parts[1 - n][10:], parts[n]) for n in (0, 1)]
    right = np.eye(2, dtype=np.float32)[labels]
    logits = [FoldLogits(right[f.test], {"image": 1 - right[f.test]}, (f.valid, right[f.valid])) for f in folds]
    curve = missing_curve(labels, ("a", "b"), folds, logits, seed=0)
    accuracy = [one.metrics["accuracy"]["mean"] for one in curve.points]
    assert accuracy == pytest.approx([1 - n / 10 for n in range(11)])
    assert [one.posts for one in curve.points] == pytest.approx([2 * n for n in range(11)])
    blind = missing_curve(labels, ("a", "b"), folds, [replace(s, without={"image": s.whole}) for s in logits], seed=0)
    assert {one.metrics["accuracy"]["mean"] for one in blind.points} == {1}
    other = missing_curve(labels, ("a", "b"), folds, logits, seed=1)
    assert [p.metrics["accuracy"]["std"] for p in other.points] != [p.metrics["accuracy"]["std"] for p in curve.points]


def test_the_learning_curve_ends_at_the_head_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posts = cached_posts(tmp_path)
    whole = train_head(posts, stage(posts), HEAD, QUICK, runs=tmp_path / "runs")
    seen: list[list[Fold]] = []

    def spy(table: Any, folds: list[Fold], *rest: Any, **options: Any) -> Any:
        seen.append(folds)
        return train_folds(table, folds, *rest, **options)

    monkeypatch.setattr(curves, "train_folds", spy)
    found = learning_curve(posts, stage(posts), HEAD, QUICK, shares=[1, 0.2, 0.5], runs=tmp_path / "runs")
    points = {(one.line, one.share): one for one in found.curve.points}
    assert list(points) == [(line, share) for line in ("gated", "linear") for share in (0.2, 0.5, 1)]
    assert points["gated", 1].metrics == whole.evaluation.metrics
    assert points["linear", 1].metrics == whole.evaluation.baselines["linear"]
    groups = np.array([n - 1 if n % 10 == 9 else n for n in range(N)])
    for small, middle, large in zip(*seen, strict=True):
        assert set(small.train) < set(middle.train) < set(large.train)
        assert np.array_equal(small.test, large.test)
        assert np.array_equal(small.valid, large.valid)
        assert len(small.train) == pytest.approx(0.2 * len(large.train), abs=4)
        for part in (small, middle):
            left = np.setdiff1d(large.train, part.train)
            assert not set(groups[part.train]) & set(groups[left])
    with (found.path / "curve.csv").open(encoding="utf-8-sig") as file:
        assert [row["system"] for row in csv.DictReader(file)] == ["gated"] * 3 + ["linear"] * 3
    assert json.loads(json.dumps(found.to_dict()))["curve"][0]["share"] == 0.2
    assert "training rows" in found.to_text()


def test_shares_are_read() -> None:
    assert read_shares("0.1, 0.5,1") == [0.1, 0.5, 1]
    for text in ("", "0.1,x", "0,1", "1.5", "nan"):
        with pytest.raises(ValueError, match="--shares wants numbers above 0"):
            read_shares(text)
