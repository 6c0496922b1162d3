"""Labels that are levels: their order, metrics and loss, from training to the test set, the table and a sweep."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cached_posts import HEAD, QUICK, cached_posts, stage

from msa.features.posts.samples import Corpus
from msa.pipeline.evaluation.reevaluate import evaluate_run
from msa.pipeline.evaluation.run_table import tabulate_runs
from msa.pipeline.evaluation.test_set import evaluate_test_set
from msa.pipeline.metrics.scores import METRICS, ORDINAL_METRICS
from msa.pipeline.runs.run_config import read_settings
from msa.pipeline.train_head import train_head

LEVELS = ("c", "a", "b")
BOTH = {*METRICS, *ORDINAL_METRICS}


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    corpus = cached_posts(tmp_path_factory.mktemp("posts"))
    marked = [replace(one, split="test" if n >= 100 else None) for n, one in enumerate(corpus.samples)]
    return replace(corpus, samples=marked)


@pytest.fixture(scope="module")
def run(posts: Corpus) -> Path:
    config = stage(posts, class_order=",".join(LEVELS))
    return train_head(posts, config, HEAD, replace(QUICK, loss="emd"), runs=posts.root, name="levels").run


def test_a_run_has_the_classes_in_their_order_and_the_metrics_of_levels(run: Path, posts: Corpus) -> None:
    assert json.loads((run / "config.json").read_text("utf-8"))["classes"] == list(LEVELS)
    assert (run / "predictions.csv").read_text("utf-8-sig").splitlines()[0].endswith("c,a,b")
    assert read_settings(run).data_config.order == LEVELS
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    assert metrics["metrics"].keys() == BOTH == metrics["baselines"]["linear"].keys()
    confusion = metrics["confusion"]
    steps = sum(abs(i - j) * count for i, row in enumerate(confusion) for j, count in enumerate(row))
    rows = sum(map(sum, confusion))
    weights = [entry["mae"] for entry in metrics["per_fold"]]
    assert sum(weights) / len(weights) == pytest.approx(steps / rows, abs=0.01)  # folds of nearly one size
    assert metrics["metrics"]["accuracy"]["mean"] > 0.6


def test_later_commands_know_the_levels(run: Path, posts: Corpus) -> None:
    again = evaluate_run(run, posts)
    assert (again.reproduced, again.evaluation.metrics.keys()) == (1, BOTH)
    printed = "\n".join(part if isinstance(part, str) else " ".join(part.header) for part in again.parts())
    assert [name in printed for name in ("mae", "qwk", "weighted f1")] == [True, True, False]
    assert evaluate_test_set(run, posts).metrics.keys() == BOTH


def test_a_table_shows_them_beside_runs_without_an_order(run: Path, posts: Corpus) -> None:
    plain = train_head(posts, stage(posts), HEAD, QUICK, runs=posts.root, name="plain").run
    lines = tabulate_runs([run, plain], metrics=["mae", "qwk"]).to_text().splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.startswith(("levels", "plain"))}
    assert rows["plain"] == ["-", "-"]
    assert float(rows["levels"][0]) > 0
    assert any("MAE" in line and "QWK" in line for line in lines)
    tested = tabulate_runs([run, plain], metrics=["mae", "accuracy"], against=run, intervals=True)
    assert all(name in tested.to_text("csv").splitlines()[0] for name in ("mae_mean", "accuracy_difference"))
    assert tested.to_dict()["rows"][1]["metrics"]["mae"] is None
    assert "MAE" in tested.to_text("latex")


def test_a_loss_over_levels_needs_their_order(posts: Corpus) -> None:
    with pytest.raises(ValueError, match=r"--loss emd is for ordinal labels; .* --class-order a,b,c"):
        train_head(posts, stage(posts), HEAD, replace(QUICK, loss="emd"), runs=posts.root)
    with pytest.raises(ValueError, match=r"--class-order must name all classes .* it lacks the label 'b'"):
        train_head(posts, stage(posts, class_order="a,c"), HEAD, QUICK, runs=posts.root)
