"""`msa sweep --ensemble greedy` on planted encoders that complement each other: the choice, and the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cached_posts import cached_posts, stage

import msa
from msa.features.cache.imported_arrays import ImportedArrays
from msa.features.cache.importing import import_embeddings
from msa.features.posts.samples import Corpus, Sample
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.ensemble_config import EnsembleConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.search_config import Search
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.evaluation.reevaluate import evaluate_run
from msa.pipeline.figures.report import write_report
from msa.pipeline.predict import predict_corpus
from msa.pipeline.runs.runs import load_run
from msa.pipeline.sweeps import tables
from msa.pipeline.sweeps.halving import Halving
from msa.pipeline.sweeps.leaderboard import SweepResult
from msa.pipeline.sweeps.replay import read_replay
from msa.pipeline.sweeps.space import read_space
from msa.pipeline.sweeps.sweep import sweep
from msa.pipeline.train_head import train_head

QUICK = TrainConfig(epochs=8, batch_size=16, lr=1e-2, patience=0)
HEAD = HeadConfig("concat", hidden=8, dropout=0.1)
GREEDY = Search(inner=2, halving=0, ensemble="greedy")
COUNT = 160


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two image encoders, each of which sees the label of one half of the posts, and of the other half nothing."""
    folder = tmp_path_factory.mktemp("posts")
    draw = np.random.default_rng(0)
    labels = draw.integers(2, size=COUNT)
    samples = []
    for number, label in enumerate(labels):
        image = folder / f"{number}.jpg"
        image.write_bytes(f"image {number}".encode())
        samples.append(Sample(f"p{number}", image, f"text {number}", "ab"[label]))
    corpus = Corpus(folder, "table", samples)
    half = draw.random(COUNT) < 0.5
    sides: list[tuple[str, Any, Any]] = [
        ("odd", "image", half),
        ("even", "image", ~half),
        ("texts", "text", half & ~half),
    ]
    for name, modality, seen in sides:
        vectors = draw.normal(scale=0.3, size=(COUNT, 4)).astype(np.float32)
        vectors[:, 0] += np.where(seen, 3.0 * (2 * labels - 1), 0)
        vectors[:, 1] += np.where(seen, 0, 3.0)
        arrays = ImportedArrays(vectors, [sample.id for sample in samples])
        import_embeddings(corpus, folder / "cache", arrays, name=name, modality=modality)
    return corpus


def search(
    corpus: Corpus, runs: Path, how: Search = GREEDY, *, settings: list[str] | None = None, **more: Any
) -> SweepResult:
    data = DataConfig(corpus.root / "cache", ("odd",), ("texts",), device="cpu")
    encoders = more.pop("image", ["odd,even"])
    space = read_space(settings or [], fusion=more.pop("fusion", "concat"), image=encoders, file=None)
    return sweep(corpus, data, space, more.pop("head", HEAD), QUICK, how, runs=runs, **more)


@pytest.fixture(scope="module")
def found(posts: Corpus, tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    return search(posts, tmp_path_factory.mktemp("runs"))


def weights(found: SweepResult) -> dict[int, float]:
    assert found.ensemble
    return found.ensemble.weights(0)


def test_encoders_that_complement_each_other_are_both_picked(found: SweepResult, posts: Corpus) -> None:
    assert set(weights(found)) == {0, 1}
    assert sum(weights(found).values()) == pytest.approx(1)
    assert found.ensemble
    assert found.ensemble.minus_winner.difference["accuracy"] > 0.1
    assert found.ensemble.evaluation.metrics["accuracy"]["mean"] > found.outer["accuracy"]["mean"] + 0.1


def test_the_run_lists_the_encoders_of_all_members_and_opens_like_any(found: SweepResult, posts: Corpus) -> None:
    assert found.ensemble
    path = found.ensemble.path
    run = load_run(path)
    assert isinstance(run.config, EnsembleConfig)
    assert sorted(spec.name for spec in run.specs["image"]) == ["even", "odd"]
    again = evaluate_run(path, posts)
    assert again.reproduced == 1
    assert again.evaluation.metrics == found.ensemble.evaluation.metrics
    predicted = predict_corpus(path, posts, rows="all", raw=True)
    right = np.mean([label == sample.label for label, sample in zip(predicted.labels, posts.samples, strict=True)])
    assert right > 0.9
    assert msa.load_run(path).classes == ("a", "b")


def test_the_prediction_is_the_weighted_mean_of_the_members(found: SweepResult, posts: Corpus, tmp_path: Path) -> None:
    """Each member is trained again alone, by the same settings on the same split."""
    assert found.ensemble
    whole = msa.load_run(found.ensemble.path)
    total = 0.0
    for trial, weight in weights(found).items():
        settings = read_replay(f"{found.path}#{trial}")
        one = train_head(posts, settings.data_config, settings.head, settings.training, runs=tmp_path)
        raw = predict_corpus(one.run, posts, rows="all", raw=True).probabilities
        total = total + weight * raw
    joint = predict_corpus(whole.path, posts, rows="all", raw=True).probabilities
    np.testing.assert_allclose(joint, total, atol=2e-5)


def test_no_outer_row_is_read_in_the_choice(posts: Corpus, found: SweepResult, tmp_path: Path) -> None:
    """The labels of the test rows are turned around after the split is made: the same members, the same weights."""
    assert found.ensemble
    stored = json.loads((found.ensemble.path / "split.json").read_text())
    tested = set(stored["folds"][0]["test"])
    turned = [
        replace(one, label={"a": "b", "b": "a"}[one.label or ""]) if one.id in tested else one for one in posts.samples
    ]
    with pytest.MonkeyPatch.context() as patch:
        prepare = tables.prepare

        def same_folds(corpus: Corpus, *args: Any, **more: Any) -> Any:
            _, folds, device = prepare(posts, *args, **more)
            table, _, _ = prepare(corpus, *args, **more)
            return table, folds, device

        patch.setattr(tables, "prepare", same_folds)
        other = search(replace(posts, samples=turned), tmp_path)
    assert other.ensemble
    assert weights(other) == weights(found)
    assert [row.values for row in other.rows[0]] == [row.values for row in found.rows[0]]
    scores = [one.ensemble.evaluation.metrics["accuracy"]["mean"] for one in (found, other) if one.ensemble]
    assert scores[0] == pytest.approx(1 - scores[1])


def test_members_are_printed_stored_and_shown(found: SweepResult) -> None:
    text = found.to_text()
    assert "Greedy ensemble of 2 trials" in text
    assert "ensemble minus winner" in text
    stored = json.loads((found.path / "sweep.json").read_text())["ensemble"]
    assert {one["trial"]: one["weight"] for one in stored["members"][0]} == weights(found)
    assert stored["run"] == "../sweep-ensemble"
    page = write_report([found.path], language="zh").path.read_text(encoding="utf-8")
    assert "贪心集成：选中的试验" in page


@pytest.mark.slow
def test_each_outer_fold_has_members_of_its_own(posts: Corpus, tmp_path: Path) -> None:
    found = search(posts, tmp_path, replace(GREEDY, outer=2))
    assert found.ensemble
    run = load_run(found.ensemble.path)
    assert len(run.heads) == len(found.ensemble.members) == 2
    assert evaluate_run(found.ensemble.path, posts).reproduced == 1


def test_an_interrupted_sweep_picks_the_same_members(
    posts: Corpus, found: SweepResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, done = Halving._store, []

    def stop(self: Halving, *args: Any) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(store(self, *args))

    monkeypatch.setattr(Halving, "_store", stop)
    with pytest.raises(KeyboardInterrupt):
        search(posts, tmp_path)
    monkeypatch.undo()
    assert weights(search(posts, tmp_path)) == weights(found)


@pytest.mark.slow
def test_heads_on_tokens_are_joined(tmp_path: Path) -> None:
    corpus = cached_posts(tmp_path)
    head = HeadConfig("gated", hidden=8, dropout=0.1, inputs="tokens", patches=None, token_width=4)
    space = read_space(["hidden=4,8"], fusion="concat,attention", file=None)
    found = sweep(corpus, stage(corpus, folds=None), space, head, QUICK, GREEDY, runs=tmp_path / "runs")
    assert found.ensemble
    assert load_run(found.ensemble.path).config.tokens
    assert evaluate_run(found.ensemble.path, corpus).reproduced == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"fusion": "gated,attention"}, "joins heads of one kind of inputs; add --inputs pooled"),
        ({"settings": ["ensemble_size=1,2"]}, "joins trials of one head each"),
        ({"head": replace(HEAD, inputs="tokens")}, "read the same tokens; give one value of image, got odd, even"),
    ],
)
def test_trials_that_cannot_be_joined_are_refused_before_training(
    posts: Corpus, tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        search(posts, tmp_path / "runs", **more)
    assert not (tmp_path / "runs").exists()


def test_an_ensemble_is_not_trained_again_by_itself(found: SweepResult) -> None:
    assert found.ensemble
    with pytest.raises(ValueError, match="is the ensemble of a sweep"):
        read_replay(str(found.ensemble.path))
