"""A run tested again reproduces its metrics; other data are refused."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cached_posts import HEAD, QUICK, N, cached_posts, stage

from msa.features.posts.samples import Corpus
from msa.pipeline.data.prepare import prepare
from msa.pipeline.evaluation.comparison import evaluate_folds
from msa.pipeline.evaluation.reevaluate import evaluate_run
from msa.pipeline.metrics.scores import METRICS
from msa.pipeline.train_head import TrainedHead, train_head


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


@pytest.fixture(scope="module")
def trained(posts: Corpus) -> TrainedHead:
    """Two repeats of three folds, two heads each, on tokens."""
    return train_head(posts, stage(posts, repeats=2), replace(HEAD, ensemble_size=2), QUICK, runs=posts.root / "runs")


def test_a_run_reports_its_evaluation(posts: Corpus, trained: TrainedHead) -> None:
    found = trained.to_dict()
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(found, allow_nan=False))
    stored = json.loads((trained.run / "metrics.json").read_text())
    assert stored["intervals"] == found["intervals"]
    assert (found["folds"], found["repeats"], found["rows"]) == (6, 2, N)
    assert len(stored["per_fold"]) == 6
    assert sum(entry["support"] for entry in found["per_class"]) == N
    assert np.sum(stored["confusion"]) == 2 * N
    assert (
        found["baselines"].keys()
        == {"majority", "linear", "linear_image", "linear_text", "svm"}
        == found["tests"].keys()
    )
    means = {name: found["baselines"][name]["accuracy"]["mean"] for name in ("linear_image", "linear_text")}
    assert means[found["best_single"]] == max(means.values())
    for name, test in found["tests"].items():
        gap = found["metrics"]["accuracy"]["mean"] - found["baselines"][name]["accuracy"]["mean"]
        assert test["difference"]["accuracy"] == pytest.approx(gap)
        assert test["difference"].keys() == test["corrected_t"].keys() == METRICS.keys()
        assert (test["only_head"] - test["only_other"]) / N == pytest.approx(gap)
    interval = found["intervals"]["accuracy"]
    assert interval["low"] < interval["estimate"] < interval["high"]
    assert interval["estimate"] == pytest.approx(found["metrics"]["accuracy"]["mean"])
    assert len(found["calibration"]["temperatures"]) == 6
    assert sum(one["rows"] for one in found["calibration"]["bins_before"]) == 2 * N
    text = trained.to_text()
    assert f"{N} posts scored, 3 folds, 2 repeats" in text
    assert found["best_single"] in text


def test_at_nothing_missing_the_stored_figures_come_out(posts: Corpus, trained: TrainedHead) -> None:
    found = evaluate_run(trained.run, posts, missing="both")
    assert found.reproduced == 1.0
    for name, figure in trained.evaluation.metrics.items():
        assert found.evaluation.metrics[name] == pytest.approx(figure)
    assert found.evaluation.intervals == trained.evaluation.intervals
    assert found.evaluation.calibration.temperatures == pytest.approx(
        trained.evaluation.calibration.temperatures, rel=1e-5
    )
    assert found.curve is not None
    for modality in ("image", "text"):
        line = [one for one in found.curve.points if one.line == modality]
        assert [one.posts for one in line] == pytest.approx([n / 10 * N / 3 for n in range(11)])
        assert line[0].metrics == found.evaluation.metrics
        assert line[-1].metrics["accuracy"]["mean"] < line[0].metrics["accuracy"]["mean"]
    with (trained.run / "curve.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["missing"] for row in rows] == ["image"] * 11 + ["text"] * 11
    assert float(rows[0]["accuracy_mean"]) == trained.evaluation.metrics["accuracy"]["mean"]
    assert found.files == [trained.run / "curve.csv", trained.run / "curve.json"]
    assert json.loads(json.dumps(found.to_dict()))["curve"][0]["missing"] == "image"
    assert "100.00% of the stored predictions are reproduced" in found.to_text()


def test_data_that_no_longer_hold_the_test_rows_are_refused(posts: Corpus, trained: TrainedHead) -> None:
    shuffled = replace(posts, samples=posts.samples[::-1])
    assert evaluate_run(trained.run, shuffled).reproduced == 1.0
    with pytest.raises(ValueError, match=r"'p\d+' is gone or has changed \(20 in all\)"):
        evaluate_run(trained.run, replace(posts, samples=posts.samples[20:]))
    other = replace(posts.samples[0], text="text 1")
    with pytest.raises(ValueError, match=r"'p0' is gone or has changed \(1 in all\)"):
        evaluate_run(trained.run, replace(posts, samples=[other, *posts.samples[1:]]))


def test_a_modality_that_the_run_does_not_see_cannot_go_missing(posts: Corpus) -> None:
    alone = replace(stage(posts), image=("none",))
    run = train_head(posts, alone, replace(HEAD, fusion="text"), QUICK, runs=posts.root / "runs", name="text")
    assert run.to_dict()["best_single"] is None
    assert run.evaluation.baselines.keys() == {"majority", "linear", "svm"}
    with pytest.raises(ValueError, match="has no image encoder"):
        evaluate_run(run.run, posts, missing="both")
    assert evaluate_run(run.run, posts, missing="text").curve is not None


def test_stored_predictions_that_do_not_come_out_are_an_error(posts: Corpus, trained: TrainedHead) -> None:
    file = trained.run / "predictions.csv"
    before = file.read_text()
    lines = before.splitlines()
    *post, best = lines[40].split(",")[:5]
    other = "a" if best != "a" else "b"
    lines[40] = ",".join([*post, other, *lines[40].split(",")[5:]])
    file.write_text("\n".join(lines) + "\n")
    try:
        with pytest.raises(ValueError, match="are not reproduced"):
            evaluate_run(trained.run, posts)
    finally:
        file.write_text(before)


def test_a_head_that_predicts_one_class_names_it(posts: Corpus, trained: TrainedHead) -> None:
    table, folds, _ = prepare(posts, stage(posts), HEAD, seed=0)
    flat = [np.tile(np.float32([0.0, 2.0, 1.0]), (len(fold.test), 1)) for fold in folds]
    varied = [flat[0], *(np.eye(3, dtype=np.float32)[table.targets()[fold.test]] for fold in folds[1:])]
    valid = [(fold.valid, np.zeros((len(fold.valid), 3), np.float32)) for fold in folds]
    found = evaluate_folds(table, folds[:1], flat[:1], valid[:1], fusion="gated")
    assert found.one_class == ["b"]
    assert "\ngated predicts one class for every post: 'b' (" in found.to_text()
    found = evaluate_folds(table, folds, varied, valid, fusion="gated")
    share = sum(one.label == "b" for one in posts.samples) / N
    assert f"one class for every post in 1 of 3 folds: 'b' ({share:.0%} of the posts); train longer" in found.to_text()
    assert trained.evaluation.one_class == []
    assert "one class" not in trained.to_text()


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_a_stored_split_whose_parts_share_posts_is_refused(
    posts: Corpus, trained: TrainedHead, tmp_path: Path, part: str
) -> None:
    run = Path(shutil.copytree(trained.run, tmp_path / "run"))
    stored = json.loads((run / "split.json").read_text())
    stored["folds"][1][part].append(stored["folds"][1]["test"][0])
    (run / "split.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"split\.json: not a stored split \(.*fold 1.*\); delete it or train again"):
        evaluate_run(run, posts, cache=posts.root / "cache")
