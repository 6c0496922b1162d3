"""Predictions are calibrated, of runs that were moved too, and refused or counted where they mean nothing."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from cached_posts import HEAD, QUICK, N, cached_posts, stage

from msa.features.posts.samples import Corpus
from msa.pipeline.data.cached_features import CachedFeatures, load_features
from msa.pipeline.evaluation.reevaluate import evaluate_run
from msa.pipeline.metrics.probabilities import log_mean, softmax
from msa.pipeline.predict import folder_of, predict_corpus, predict_post, write_predictions
from msa.pipeline.runs import run_predictions
from msa.pipeline.runs.runs import load_run
from msa.pipeline.train_head import TrainedHead, train_head
from msa.pipeline.training.predictions import prediction_views, view_logits


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


@pytest.fixture(scope="module")
def single(posts: Corpus) -> TrainedHead:
    """A run of one split that sets some posts aside for `msa test`."""
    return train_head(posts, stage(posts, folds=None, hold_out=0.1), HEAD, QUICK, runs=posts.root / "runs")


@pytest.fixture(scope="module")
def folded(posts: Corpus) -> TrainedHead:
    """A run of three folds with two heads each."""
    return train_head(posts, stage(posts), replace(HEAD, ensemble_size=2), QUICK, runs=posts.root / "runs")


def at(posts: Corpus, folder: Path) -> Corpus:
    """The same posts in another folder."""
    samples = [replace(one, image=folder / one.image.name) for one in posts.samples if one.image]
    return Corpus(folder, posts.layout, samples)


def edit(run: Path, into: Path, **fields: Any) -> Path:
    """A copy of a run with other fields in its configuration."""
    copy = Path(shutil.copytree(run, into / run.name))
    stored = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(stored | fields))
    return copy


def likelihood(run: Path, ids: list[str], probabilities: np.ndarray[Any, Any], posts: Corpus) -> float:
    """Mean negative log-likelihood of a run's test rows."""
    labels = {one.id: one.label for one in posts.samples}
    tested = set(json.loads((run / "split.json").read_text())["folds"][0]["test"])
    kept = [
        row["abc".index(labels[name] or "")] for name, row in zip(ids, probabilities, strict=True) if name in tested
    ]
    return -float(np.log(kept).mean())


def test_a_project_that_was_renamed_or_copied_goes_on_working(tmp_path: Path) -> None:
    old, new, copy = (tmp_path / name for name in ("old", "new", "copy"))
    old.mkdir()
    posts = cached_posts(old)
    run = train_head(posts, stage(posts), HEAD, QUICK, runs=old / "runs").run.relative_to(old)
    assert str(tmp_path) not in (old / run / "config.json").read_text() + (old / run / "metrics.json").read_text()
    old.rename(new)
    shutil.copytree(new, copy)
    for folder in (new, copy):
        assert load_run(folder / run).cache == (folder / "cache").resolve()
        assert evaluate_run(folder / run, at(posts, folder)).reproduced == 1.0
        assert len(predict_corpus(folder / run, at(posts, folder), rows="all").ids) == N
    assert not old.exists()


def test_a_run_without_its_cache_uses_the_projects_or_asks_for_one(
    tmp_path: Path, posts: Corpus, folded: TrainedHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Path(shutil.copytree(folded.run, tmp_path / "elsewhere/deep/runs/run"))
    gone = tmp_path / "elsewhere/deep/cache"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"cache {gone} is not there; add --cache FOLDER"):
        predict_corpus(alone, posts, rows="all")
    with pytest.raises(ValueError, match="is not there; add --cache FOLDER"):
        evaluate_run(alone, posts)
    assert not gone.exists()
    with pytest.raises(ValueError, match=r"other has no features of images-.* give the cache that has them"):
        predict_corpus(alone, posts, rows="all", cache=tmp_path / "other")
    assert not (tmp_path / "other").exists()
    whole = predict_corpus(alone, posts, rows="all", cache=posts.root / "cache")
    monkeypatch.chdir(posts.root)
    assert predict_corpus(alone, posts, rows="all").labels == whole.labels


def test_a_run_of_an_earlier_version_opens_and_is_not_calibrated(
    tmp_path: Path, posts: Corpus, folded: TrainedHead
) -> None:
    old = edit(folded.run, tmp_path, cache=str(posts.root / "cache"))
    stored = json.loads((old / "config.json").read_text())
    for name in ("temperatures", "split", "others", "test_sets"):
        del stored[name]
    (old / "config.json").write_text(json.dumps(stored))
    found = predict_corpus(old, posts, rows="all")
    assert "not calibrated: the run has no temperature, train again" in found.to_text()
    raw = predict_corpus(folded.run, posts, rows="all", raw=True)
    np.testing.assert_array_equal(found.probabilities, raw.probabilities)
    assert raw.to_text().endswith("probabilities are not calibrated")


def test_probabilities_on_test_rows_have_the_likelihood_that_evaluate_reports(
    posts: Corpus, single: TrainedHead
) -> None:
    found = evaluate_run(single.run, posts).evaluation.calibration
    scaled = predict_corpus(single.run, posts, rows="all")
    raw = predict_corpus(single.run, posts, rows="all", raw=True)
    assert likelihood(single.run, scaled.ids, scaled.probabilities, posts) == pytest.approx(found.nll_after, rel=1e-5)
    assert likelihood(single.run, raw.ids, raw.probabilities, posts) == pytest.approx(found.nll_before, rel=1e-5)
    assert abs(found.nll_after - found.nll_before) > 1e-3
    assert scaled.labels == raw.labels == [raw.classes[best] for best in scaled.probabilities.argmax(1)]
    assert f"calibrated (temperature {found.temperatures[0]:.2f})" in scaled.to_text()
    assert scaled.to_dict()["temperatures"] == pytest.approx(found.temperatures)
    rows = dict(zip(scaled.ids, scaled.probabilities, strict=True))
    with (single.run / "predictions.csv").open(encoding="utf-8-sig") as file:
        for line in csv.DictReader(file):
            assert [float(line[name]) for name in "abc"] == pytest.approx(rows[line["id"]], abs=2e-6)


def test_each_fold_has_its_own_temperature_and_its_heads_share_it(posts: Corpus, folded: TrainedHead) -> None:
    run = load_run(folded.run)
    table = run_predictions.load_run_features(run, posts, run.cache)
    expected = []
    for temperature, (heads, reductions) in zip(run.temperatures, run.folds, strict=True):
        logits = view_logits(heads, prediction_views(table, run.config, reductions, "cpu"), range(N))
        assert len(logits) == 2
        expected.append(softmax(log_mean(logits) / np.float32(temperature)))
    assert len(set(run.temperatures)) == 3
    assert run.temperatures == pytest.approx(folded.evaluation.calibration.temperatures)
    found = predict_corpus(folded.run, posts, rows="all")
    np.testing.assert_allclose(found.probabilities, np.mean(expected, axis=0), atol=1e-6)


def test_temperatures_change_no_label(tmp_path: Path, posts: Corpus, folded: TrainedHead) -> None:
    cache = posts.root / "cache"
    strange = edit(folded.run, tmp_path, temperatures=[20.0, 20.0, 0.05])
    raw = predict_corpus(strange, posts, rows="all", cache=cache, raw=True)
    scaled = predict_corpus(strange, posts, rows="all", cache=cache)
    assert scaled.labels == raw.labels
    moved = int((scaled.probabilities.argmax(1) != raw.probabilities.argmax(1)).sum())
    assert moved
    assert f"{moved} labels are not the most probable after it, as folds disagree" in scaled.to_text()


@pytest.mark.parametrize("text", ["  ", "\n\t", "\u200b\u00a0", ""])
def test_a_blank_text_is_refused(folded: TrainedHead, posts: Corpus, text: str) -> None:
    for image in (None, posts.samples[0].image):
        with pytest.raises(ValueError, match="--text is blank"):
            predict_post(folded.run, image=image, text=text)


def test_weights_that_are_not_finite_are_named_by_their_file(tmp_path: Path, folded: TrainedHead) -> None:
    run = edit(folded.run, tmp_path)
    tensors = safetensors.torch.load_file(run / "head.safetensors")
    name = max(tensors, key=lambda one: tensors[one].numel())
    tensors[name].flatten()[3] = float("nan")
    safetensors.torch.save_file(tensors, run / "head.safetensors")
    with pytest.raises(ValueError, match=rf"head\.safetensors' holds NaN or infinity in '{name}'; train again"):
        load_run(run)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_named_by_their_post(
    posts: Corpus, folded: TrainedHead, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    def broken(*given: Any, **options: Any) -> CachedFeatures:
        table: CachedFeatures = load_features(*given, **options)
        assert table.text is not None
        assert table.text.tokens is not None
        table.text.tokens.row(7)[1, 2] = value
        return table

    monkeypatch.setattr(run_predictions, "load_features", broken)
    with pytest.raises(ValueError, match=r"text features of post 'p7' \(1 posts in all\) hold NaN or infinity"):
        predict_corpus(folded.run, posts, rows="all")


def test_posts_that_the_run_knows_are_counted(tmp_path: Path, posts: Corpus, single: TrainedHead) -> None:
    fold = json.loads((single.run / "split.json").read_text())["folds"][0]
    found = predict_corpus(single.run, posts, rows="all")
    locked = N - sum(len(fold[part]) for part in ("train", "valid", "test"))
    assert locked >= 5
    assert found.known == {"trained": len(fold["train"] + fold["valid"]), "tested": len(fold["test"]), "locked": locked}
    line = f"{locked} are locked for `msa test`: accuracy on them is no estimate for new posts"
    assert line in write_predictions(found, tmp_path, course=False).to_text()
    fresh = replace(posts, samples=[replace(one, label=None) for one in posts.samples])
    unseen = predict_corpus(single.run, fresh)
    assert not any(unseen.known.values())
    assert "no estimate" not in write_predictions(unseen, tmp_path / "fresh", course=False).to_text()


def test_predictions_of_one_data_set_never_replace_those_of_another(
    tmp_path: Path, posts: Corpus, single: TrainedHead
) -> None:
    """Data sets of one name get folders of their own; the same posts replace their own predictions."""
    found = predict_corpus(single.run, posts, rows="all")
    few = predict_corpus(single.run, replace(posts, samples=[replace(one, label=None) for one in posts.samples[:20]]))
    for predictions, name in ((found, "posts"), (few, "posts-2"), (found, "posts"), (few, "posts-2")):
        named = replace(predictions, made={**predictions.made, "data": {**predictions.made["data"], "name": "posts"}})
        folder = folder_of(named, tmp_path)
        assert folder == tmp_path / name
        write_predictions(named, folder, course=False)
        with (folder / "predictions.csv").open(encoding="utf-8-sig") as file:
            assert [line["id"] for line in csv.DictReader(file)] == predictions.ids
    with pytest.raises(ValueError, match=rf"predictions of other posts \({N} of 'posts'\); give another --out"):
        write_predictions(few, tmp_path / "posts", course=False)
    assert json.loads((tmp_path / "posts" / "predictions.json").read_text())["made"]["data"]["posts"] == N
