"""Every folder of results tells how it was made; the same call on the same posts writes the same folder."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cached_posts import QUICK, N, cached_posts, stage
from cached_sweeps import search

from msa.cli import run_command
from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus
from msa.pipeline.ablation.ablate import ablate
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.search_config import Search
from msa.pipeline.data.join import join_posts
from msa.pipeline.evaluation.curves import learning_curve
from msa.pipeline.evaluation.reevaluate import evaluate_run
from msa.pipeline.runs.made import COMMAND, digest_posts
from msa.pipeline.runs.stored_run import read_runs
from msa.pipeline.train_head import train_head

HEAD = HeadConfig("concat", hidden=8)
VOLATILE = re.compile(r'"(date|seconds)": [^,\n]+')


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


@pytest.fixture(scope="module")
def run(posts: Corpus) -> Path:
    return train_head(posts, stage(posts), HEAD, QUICK, runs=posts.root / "runs").run


def read(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))


def read_lines(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig") as opened:
        return list(csv.DictReader(opened))


def test_every_folder_tells_command_versions_date_and_data(posts: Corpus, run: Path) -> None:
    runs = posts.root / "others"
    token = COMMAND.set("msa train-head 'my posts'")
    try:
        again = train_head(posts, stage(posts), HEAD, QUICK, runs=runs).run
        ablated = ablate(posts, stage(posts), HEAD, QUICK, runs=runs).path
        curve = learning_curve(posts, stage(posts), HEAD, QUICK, shares=[0.5, 1], runs=runs).path
        evaluate_run(again, posts, missing="image", device="cpu")
        swept = search(posts, runs, Search(trials=2, inner=2, halving=0)).path
    finally:
        COMMAND.reset(token)
    files = [again / "config.json", again / "curve.json", ablated / "ablation.json", curve / "curve.json"]
    found = [read(file)["made"] for file in (*files, swept / "sweep.json")]
    for made in found:
        assert made["command"] == "msa train-head 'my posts'"
        assert datetime.fromisoformat(made["date"]).tzinfo
        assert re.match(r"\d+\.\d+", made["version"])
        assert re.match(r"\d+\.\d+", made["torch"])
        assert made["data"] == found[0]["data"]
    assert (found[0]["data"]["name"], found[0]["data"]["posts"]) == (posts.root.name, N)
    assert read(run / "config.json")["made"]["command"] == ""
    tables = [file for folder in (again, ablated, curve, swept) for file in folder.glob("*.csv")]
    assert {file.name for file in tables} >= {"history.csv", "predictions.csv", "baselines.csv", "leaderboard.csv"}
    assert [
        file for file in tables if file.read_bytes().startswith(codecs.BOM_UTF8) == file.read_bytes().isascii()
    ] == []


def test_the_same_call_writes_the_same_folder(posts: Corpus, run: Path) -> None:
    again = train_head(posts, stage(posts), HEAD, QUICK, runs=posts.root / "runs").run
    assert again.name == f"{run.name}-2"
    assert (again / "head.safetensors").read_bytes() == (run / "head.safetensors").read_bytes()
    for name in ("config.json", "metrics.json", "split.json", "predictions.csv", "baselines.csv"):
        first, second = (VOLATILE.sub("", (one / name).read_text("utf-8")) for one in (run, again))
        assert first == second, name
    with (
        (run / "history.csv").open(encoding="utf-8-sig") as one,
        (again / "history.csv").open(encoding="utf-8-sig") as two,
    ):
        for first_line, second_line in zip(csv.DictReader(one), csv.DictReader(two), strict=True):
            assert first_line | {"seconds": ""} == second_line | {"seconds": ""}


def test_the_digest_knows_contents_and_labels_not_ids_and_order(posts: Corpus) -> None:
    own = digest_posts(join_posts(posts)[1])
    renamed = [replace(sample, id=f"x{number}") for number, sample in enumerate(reversed(posts.samples))]
    assert digest_posts(join_posts(replace(posts, samples=renamed))[1]) == own
    first, *rest = posts.samples
    for changed in (replace(first, label="b"), replace(first, text="other")):
        assert digest_posts(join_posts(replace(posts, samples=[changed, *rest]))[1]) != own


def test_the_name_of_the_data_is_that_of_the_folder_or_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "tweets.v2.csv"
    table.write_text("id,text,label\n1,good,pos\n2,bad,neg\n")
    assert read_corpus(table).name == "tweets.v2"
    monkeypatch.chdir(tmp_path)
    assert Corpus(Path(), "table", []).name == tmp_path.name


def test_baselines_are_stored_by_post_with_intervals(run: Path) -> None:
    with (
        (run / "predictions.csv").open(encoding="utf-8-sig") as one,
        (run / "baselines.csv").open(encoding="utf-8-sig") as two,
    ):
        heads, baselines = list(csv.DictReader(one)), list(csv.DictReader(two))
    common = ("id", "repeat", "fold", "label")
    assert list(baselines[0]) == [*common, "majority", "linear", "linear_image", "linear_text", "svm"]
    assert [[line[name] for name in common] for line in heads] == [
        [line[name] for name in common] for line in baselines
    ]
    metrics = read(run / "metrics.json")
    for name in ("majority", "linear", "linear_image", "linear_text", "svm"):
        accuracy = sum(line[name] == line["label"] for line in baselines) / N
        found = metrics["baseline_intervals"][name]["accuracy"]
        assert found["estimate"] == pytest.approx(accuracy)
        assert found["low"] <= found["estimate"] <= found["high"]
        difference = metrics["tests"][name]["intervals"]["accuracy"]
        own = metrics["intervals"]["accuracy"]["estimate"]
        assert difference["estimate"] == pytest.approx(own - accuracy)
        assert difference["low"] <= difference["estimate"] <= difference["high"]
    assert Counter(line["majority"] for line in baselines).keys() <= {"a", "b", "c"}
    evaluation = read_runs([run])[0].evaluation
    assert evaluation
    assert (
        evaluation.baseline_intervals["linear"]["accuracy"].low
        == metrics["baseline_intervals"]["linear"]["accuracy"]["low"]
    )


def test_a_run_of_an_earlier_version_still_opens(run: Path) -> None:
    config, metrics = read(run / "config.json"), read(run / "metrics.json")
    old = run.parent / "old"
    old.mkdir()
    for file in run.iterdir():
        if file.name != "baselines.csv":
            (old / file.name).write_bytes(file.read_bytes())
    del config["made"], metrics["baseline_intervals"]
    for test in metrics["tests"].values():
        del test["intervals"]
    (old / "config.json").write_text(json.dumps(config))
    (old / "metrics.json").write_text(json.dumps(metrics))
    evaluation = read_runs([old])[0].evaluation
    assert evaluation
    assert evaluation.baseline_intervals == {}
    assert evaluation.tests["linear"].intervals == {}


def test_the_command_is_stored_as_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = cached_posts(tmp_path)
    lines = [f"{s.id},{s.image.name if s.image else ''},{s.text},{s.label}" for s in corpus.samples]
    (tmp_path / "my posts.csv").write_text("\n".join(["id,image,text,label", *lines]))
    options = ["--image", "images", "--text", "texts", "--fusion", "concat", "--epochs", "2", "--device", "cpu"]
    assert run_command(["train-head", "my posts.csv", *options]) == 0, capsys.readouterr().err
    made = read(tmp_path / "runs/concat/config.json")["made"]
    assert made["command"] == f"msa train-head 'my posts.csv' {' '.join(options)}"
    assert made["data"]["name"] == "my posts"
    assert COMMAND.get() == ""
