"""The Python interface: a run with its results as data frames, trainings by name, docs whose examples run."""

from __future__ import annotations

import csv
import doctest
import pydoc
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cached_posts import cached_posts

import msa
from msa.cli import run_command
from msa.pipeline import trained_run
from msa.pipeline.demo.demo import write_demo_corpus
from msa.pipeline.metrics.scores import METRICS
from msa.pipeline.trained_run import TrainedRun

HOSTILE = '<script>alert("x")</script>'
CACHED = {"image": "images", "text": "texts", "device": "cpu"}
QUICK = {"epochs": 2, "hidden": 8, **CACHED}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of cached posts, whose text column has another name; class a is called HOSTILE."""
    folder = tmp_path_factory.mktemp("python")
    corpus = cached_posts(folder)
    with (folder / "posts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "image", "tweet", "label"])
        for sample in corpus.samples:
            label = HOSTILE if sample.label == "a" else sample.label
            writer.writerow([sample.id, sample.image.name if sample.image else "", sample.text, label])
    return folder


@pytest.fixture(scope="module")
def run(home: Path) -> TrainedRun:
    options: dict[str, Any] = {"columns": {"text": "tweet"}, "cache": home / "cache", **QUICK}
    return msa.train_head(home / "posts.csv", "concat", folds=2, runs=home / "runs", **options)


def test_results_are_data_frames(run: TrainedRun) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    metrics = run.metrics.set_index("system")
    evaluation = run.stored.evaluation
    assert evaluation
    assert list(metrics.index) == ["concat", "majority", "linear", "linear_image", "linear_text", "svm"]
    for name in METRICS:
        assert metrics.loc["concat", f"{name}_mean"] == evaluation.metrics[name]["mean"]
    assert metrics.loc["linear", "accuracy_low"] == evaluation.baseline_intervals["linear"]["accuracy"].low
    assert list(run.history["epoch"]) == [1, 2, 1, 2]
    assert {"train_loss", "valid_macro_f1"} <= {*run.history.columns}
    table = run.predictions
    assert list(table.columns) == ["id", "repeat", "fold", "label", "predicted", *run.classes]
    for fold, rows in table.groupby("fold"):
        accuracy = (rows["label"] == rows["predicted"]).mean()
        assert accuracy == pytest.approx(evaluation.per_fold[fold]["accuracy"])


def test_without_pandas_results_are_dicts_of_columns(run: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_run, "find_spec", lambda name: None)
    plain = TrainedRun(run.stored)
    assert plain.metrics["system"][0] == "concat"
    assert plain.history["epoch"] == [1, 2, 1, 2]
    assert len(plain.predictions["id"]) == len(plain.predictions[HOSTILE])


def test_a_run_predicts_posts_and_one_post(home: Path, run: TrainedRun) -> None:
    how: dict[str, Any] = {"columns": {"text": "tweet"}}
    probabilities = run.predict_proba(home / "posts.csv", **how)
    labels = run.predict(home / "posts.csv", **how)
    assert probabilities.shape == (len(labels), len(run.classes)) == (120, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    assert {*labels} <= {*run.classes}
    assert run.predict_proba(home / "posts.csv", raw=True, **how) != pytest.approx(probabilities)
    with pytest.raises(ValueError, match="columns is for posts; one post is given by image=FILE and text="):
        run.predict(text="so happy", **how)
    with pytest.raises(ValueError, match="a post needs an image or a text"):
        run.predict()


def test_a_notebook_shows_a_run_without_running_what_is_in_it(run: TrainedRun) -> None:
    shown = TrainedRun(replace(run.stored, path=Path(HOSTILE), made={"data": {"name": HOSTILE}}))
    page = shown._repr_html_()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 2
    assert page.count("<tr>") == 7
    assert re.fullmatch(r"TrainedRun\('.*/runs/concat': concat, accuracy 0\.\d{3}( ±0\.\d{3})?\)", repr(run))


def test_a_run_is_opened_by_path_or_name_without_torch(home: Path, run: TrainedRun) -> None:
    script = (
        "import sys, msa\n"
        "run = msa.load_run(sys.argv[1])\n"
        "assert run.history is not None and 'torch' not in sys.modules\n"
        "print(run.path)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "concat"], capture_output=True, text=True, cwd=home, check=False
    )
    assert done.stdout == "runs/concat\n", done.stderr
    with pytest.raises(ValueError, match="there is no run 'nothing'"):
        msa.load_run("nothing")


def test_ablations_and_sweeps_are_those_of_the_commands(home: Path) -> None:
    where: dict[str, Any] = {"columns": {"text": "tweet"}, "cache": str(home / "cache"), "runs": home / "more", **QUICK}
    ablation = msa.ablate(home / "posts.csv", ["concat"], **where)
    assert [row.inputs for row in ablation.rows] == ["both", "text", "image"]
    assert (ablation.path / "report.html").is_file()
    shown = ablation._repr_html_()
    assert shown.startswith("<pre>")
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    search = {"trials": 2, "inner": 2, "halving": 0, "by": "macro_f1"}
    found = msa.sweep(home / "posts.csv", {"lr": [1e-3, 1e-2]}, "concat", **where, **search)  # type: ignore[arg-type]
    assert (found.metric, found.trials) == ("macro_f1", 2)
    assert {row.point["lr"] for row in found.rows[0]} == {1e-3, 1e-2}


def test_settings_are_checked_by_name(home: Path) -> None:
    with pytest.raises(ValueError, match="there is no setting 'epoch'; did you mean epochs"):
        msa.train_head(home / "posts.csv", epoch=3)
    with pytest.raises(ValueError, match="epochs"):
        msa.train_head(home / "posts.csv", epochs=-1)


def test_columns_of_a_table_are_named(home: Path) -> None:
    found = msa.load_features(
        home / "posts.csv", image="images", text="texts", cache=home / "cache", columns={"text": "tweet"}
    )
    assert found.X.text is not None
    assert found.X.text.present.all()
    assert len(found.ids) == 120
    assert found.y is not None
    assert HOSTILE in found.y


def test_help_is_a_table_of_contents() -> None:
    text = pydoc.plain(pydoc.render_doc(msa))
    for name in msa.__all__:
        assert re.search(rf"\b{name}\b", msa.__doc__ or ""), name
        assert name in text
        assert getattr(msa, name).__doc__, name
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", msa.__version__)
    assert "__version__" in dir(msa)


@pytest.mark.slow
def test_the_examples_of_the_docs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_demo_corpus(tmp_path / "posts", posts=64)
    monkeypatch.chdir(tmp_path)
    assert run_command(["train-head", "posts"]) == 2  # nothing is extracted yet
    names = ("extract", "load_features", "train_head", "load_run", "TrainedRun", "ablate", "sweep")
    seen = 0
    for name in names:
        examples = doctest.DocTestParser().get_examples(getattr(msa, name).__doc__)
        assert examples, name
        scope: dict[str, Any] = {"msa": msa}
        for example in examples:
            exec(example.source, scope)
            seen += 1
    assert seen >= 10
