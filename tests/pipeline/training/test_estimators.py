"""Classifiers through every command that trains or opens heads: each predicts after it is stored."""

from __future__ import annotations

import csv
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cached_posts import QUICK, cached_posts, stage
from estimator_inputs import TABICL, small_options
from experiments import FOLDS, TABLE

from msa.features.messages import Notice
from msa.features.posts.samples import Corpus
from msa.heads.estimator import EstimatorHead
from msa.heads.registry import ESTIMATORS
from msa.pipeline.ablation.ablate import ablate
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.search_config import Search
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.config.used_settings import FITTED, used_settings
from msa.pipeline.estimators.estimator import FusionClassifier
from msa.pipeline.estimators.feature_table import FeatureTable
from msa.pipeline.evaluation.curves import learning_curve
from msa.pipeline.evaluation.reevaluate import evaluate_run
from msa.pipeline.evaluation.test_set import evaluate_test_set
from msa.pipeline.explanation.explain import explain
from msa.pipeline.explanation.originals import Original
from msa.pipeline.metrics.probabilities import mean_probabilities
from msa.pipeline.runs.run_predictions import load_run_features, run_logits
from msa.pipeline.runs.runs import load_run
from msa.pipeline.sweeps.space import read_space
from msa.pipeline.sweeps.sweep import sweep
from msa.pipeline.train_head import train_head
from msa.pipeline.training import folds
from msa.pipeline.training.checkpointing import CheckpointDir
from msa.pipeline.training.folds import train_experiments
from msa.pipeline.training.jobs import Experiment

SVC, BAYES = "estimator:sklearn.svm.SVC", "estimator:sklearn.naive_bayes.GaussianNB"
TABM = "estimator:pytabkit.TabM"
PLAIN = TrainConfig()


def config_of(name: str) -> HeadConfig:
    return HeadConfig(name, options=small_options(name))


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_a_run_predicts_as_it_did_when_it_was_trained(name: str, posts: Corpus, tmp_path: Path) -> None:
    found = train_head(posts, stage(posts, folds=None), config_of(name), PLAIN, runs=tmp_path)
    assert found.run.name == name.rpartition(".")[2] == found.evaluation.fusion
    assert found.evaluation.metrics["accuracy"]["mean"] > 0.6 or name == TABICL  # whose weights are random here
    run = load_run(found.run)
    table = load_run_features(run, posts, posts.root / "cache")
    rows = {name: row for row, name in enumerate(table.posts.ids)}
    stored = read_csv(found.run / "predictions.csv")
    probabilities = mean_probabilities(run_logits(run, table), run.temperatures)[[rows[line["id"]] for line in stored]]
    written = [[float(line[label]) for label in run.classes] for line in stored]
    np.testing.assert_allclose(probabilities, written, atol=2e-6)
    assert [line["epoch"] for line in read_csv(found.run / "history.csv")] == ["1"]
    again = evaluate_run(found.run, posts, missing="both")
    assert again.reproduced == 1
    assert again.evaluation.metrics["accuracy"] == found.evaluation.metrics["accuracy"]


@pytest.mark.parametrize("name", [SVC, TABM, TABICL])
def test_posts_set_aside_are_scored_and_explained(name: str, posts: Corpus, tmp_path: Path) -> None:
    found = train_head(posts, stage(posts, folds=None, hold_out=0.2), config_of(name), PLAIN, runs=tmp_path)
    tested = evaluate_test_set(found.run, posts)
    assert found.run.name in tested.to_text()
    run = load_run(found.run)
    table = load_run_features(run, posts, posts.root / "cache")
    one, *_ = explain(run, table, [Original(None, None)] * len(table.posts.ids))
    assert [*map(str, one.notes)] == [f"{found.run.name} has neither attention nor weights of the modalities"]
    assert {("image",), ("text",)} < set(one.opinions)
    np.testing.assert_allclose(one.probabilities, mean_probabilities(run_logits(run, table), run.temperatures)[0])


def test_an_ablation_removes_modalities_by_training_and_by_occlusion(posts: Corpus, tmp_path: Path) -> None:
    configs = [HeadConfig(SVC), HeadConfig(BAYES)]
    for how in ("retrain", "null", "shuffle"):
        found = ablate(posts, stage(posts), configs, PLAIN, how=how, runs=tmp_path)  # type: ignore[arg-type]
        assert found.refused == {}
        assert len(found.rows) == 6
        both, text, image = (row.metrics["accuracy"]["mean"] for row in found.rows[:3])
        assert both > max(text, image)
        assert {row.fusion for row in found.rows} == {"SVC", "GaussianNB"}
        assert "estimator:" not in found.to_text()


def test_an_ensemble_joins_a_classifier_and_a_head_that_is_trained(posts: Corpus, tmp_path: Path) -> None:
    config = HeadConfig(f"{SVC}+gated", hidden=8, inputs="pooled", ensemble_size=2)
    found = train_head(posts, stage(posts), config, QUICK, runs=tmp_path)
    assert found.run.name == "SVC+gated"
    assert [len(heads) for heads, _ in load_run(found.run).folds] == [2, 2, 2]
    assert evaluate_run(found.run, posts).evaluation.metrics["accuracy"] == found.evaluation.metrics["accuracy"]


def test_an_interrupted_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment(HeadConfig(SVC), PLAIN, checkpointers=CheckpointDir(tmp_path, 1, "name").checkpointer)
    (first,) = train_experiments(TABLE, FOLDS, [experiment])
    monkeypatch.setattr(EstimatorHead, "prepare", None)
    (second,) = train_experiments(TABLE, FOLDS, [experiment])
    for one, other in zip(first, second, strict=True):
        assert (one.logits == other.logits).all()
        assert one.histories == other.histories


def test_networks_train_in_one_thread_so_that_none_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "available_cores", lambda: 4)
    names = []
    for config in (config_of(TABM), HeadConfig(SVC)):
        threads: set[str] = set()
        train_experiments(
            *(TABLE, FOLDS, [Experiment(config, PLAIN)] * 4),
            epoch_done=lambda epoch, seen=threads: seen.add(threading.current_thread().name),  # type: ignore[misc]
        )
        names.append(threads)
    assert len(names[0]) == 1 < len(names[1])


def test_a_learning_curve_and_a_classifier_of_scikit_learn(posts: Corpus, tmp_path: Path) -> None:
    curve = learning_curve(posts, stage(posts), HeadConfig(BAYES), PLAIN, shares=(0.5, 1.0), runs=tmp_path)
    assert curve.fusion == "GaussianNB"
    draw = np.random.default_rng(0)
    y = np.arange(90) % 3
    image, text = (draw.normal(size=(90, 6)) + 2 * np.eye(6)[y] for _ in range(2))
    image[::7] = np.nan
    table = FeatureTable(image=image, text=text)
    found = FusionClassifier(SVC, options={"C": 2.0}, device="cpu").fit(table, y)
    assert found.score(table, y) > 0.8
    assert found.predict_proba(table).shape == (90, 3)


def test_a_sweep_searches_its_options(posts: Corpus, tmp_path: Path) -> None:
    space = read_space(["C=0.001,1", "scale=standard,none"], fusion=f"{SVC},{BAYES}", file=None)
    assert space.names_for(BAYES) == ["scale"]
    found = sweep(posts, stage(posts), space, HeadConfig(SVC), PLAIN, Search(inner=2), runs=tmp_path)
    assert found.trials == 6
    assert {row.state for rows in found.rows for row in rows} <= {"complete", "pruned"}


def test_networks_are_ablated_searched_and_joined(posts: Corpus, tmp_path: Path) -> None:
    small = {**small_options(TABM), "n_epochs": 3}
    ablated = ablate(posts, stage(posts, folds=None), [HeadConfig(TABM, options=small)], PLAIN, runs=tmp_path)
    assert (len(ablated.rows), ablated.refused) == (3, {})
    space = read_space(["lr=0.01,0.04"], fusion=TABM, file=None)
    searched = sweep(
        posts, stage(posts, folds=2), space, HeadConfig(TABM, options=small), PLAIN, Search(inner=2), runs=tmp_path
    )
    assert searched.trials == 2
    joined = HeadConfig(f"{TABM}+{TABICL}", options=small | small_options(TABICL), ensemble_size=2)
    run = train_head(posts, stage(posts, folds=None), joined, PLAIN, runs=tmp_path).run
    assert run.name == "TabM+TabICLClassifier"
    assert evaluate_run(run, posts).reproduced == 1


def test_what_a_classifier_does_not_use_is_pointed_out_and_not_searched(posts: Corpus, tmp_path: Path) -> None:
    with pytest.warns(Notice, match="SVC is fitted at once, .* does not use --hidden, --epochs, --lr"):
        train_head(posts, stage(posts), HeadConfig(SVC, hidden=8), TrainConfig(epochs=3, lr=1e-2), runs=tmp_path)
    with pytest.raises(ValueError, match="unknown setting 'lr'"):
        read_space(["lr=1e-3,1e-2"], fusion=SVC, file=None)
    assert "lr" in used_settings(f"{SVC}+gated")
    with pytest.raises(ValueError, match="unknown fusion head"):
        used_settings("estimator:os.system")


OTHERS = {
    "epochs": 2,
    "batch_size": 7,
    "lr": 0.1,
    "loss": "focal",
    "balance": "sampler",
    "mixup": 0.5,
    "modality_dropout": 0.5,
    "average": "ema",
}


def test_settings_that_are_not_used_change_nothing() -> None:
    assert not FITTED & OTHERS.keys()
    plain = Experiment(HeadConfig(BAYES), PLAIN)
    others = [replace(plain, training=replace(PLAIN, **{name: value})) for name, value in OTHERS.items()]  # type: ignore[arg-type]
    others.append(replace(plain, config=HeadConfig(BAYES, hidden=7, dropout=0.1)))
    used = [replace(plain, config=HeadConfig(BAYES, options={"pca": 2})), replace(plain, without="image")]
    reference, *found = train_experiments(TABLE, FOLDS, [plain, *others, *used])
    same = [all((a.logits == b.logits).all() for a, b in zip(reference, one, strict=True)) for one in found]
    assert same == [True] * len(others) + [False] * len(used)
