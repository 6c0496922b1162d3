"""Reports of runs that commands wrote: train-head, ablate, learning-curve, evaluate; what is damaged is refused."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from cached_posts import HEAD, QUICK, N, cached_posts, stage

from msa.cli import run_command
from msa.features.posts.samples import Corpus
from msa.pipeline.ablation.ablate import ablate
from msa.pipeline.evaluation.reevaluate import evaluate_run
from msa.pipeline.figures import chart
from msa.pipeline.figures.report import write_report
from msa.pipeline.runs.stored_run import read_runs
from msa.pipeline.train_head import TrainedHead, train_head

SHORT = replace(QUICK, epochs=2)


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


@pytest.fixture(scope="module")
def trained(posts: Corpus) -> TrainedHead:
    return train_head(posts, stage(posts), replace(HEAD, ensemble_size=2), SHORT, runs=posts.root / "runs")


def test_a_run_is_read_back_as_it_was_evaluated(posts: Corpus, trained: TrainedHead) -> None:
    run = read_runs([trained.run])[0]
    assert run.evaluation
    assert run.predictions
    assert asdict(run.evaluation) == asdict(trained.evaluation)
    assert len(run.history) == 3 * 2 * 2
    assert np.unique([line["epoch"] for line in run.history]).tolist() == [1, 2]
    assert sorted(run.predictions.posts) == sorted((one.id, "0") for one in posts.samples)
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (run.predictions.truth, run.predictions.predicted), 1)
    assert counts.tolist() == run.evaluation.confusion
    assert (run.predictions.probabilities.argmax(1) == run.predictions.predicted).mean() > 0.98
    charts = [
        "Main metrics",
        "loss over epochs",
        "accuracy over epochs",
        "Confusion matrix",
        "Scores by class",
        "ROC curves",
    ]
    charts += ["Precision-recall curves", "Calibration", "Loss over batches", "learning rate over epochs"]
    drawn = re.findall(r'<svg role="img" aria-label="([^"]*)"', (trained.run / "report.html").read_text("utf-8"))
    assert [name for name in drawn if name in charts] == charts


def test_the_command_writes_page_and_figures_of_several_runs(
    posts: Corpus,
    trained: TrainedHead,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ablation = ablate(posts, stage(posts), replace(HEAD, inputs="pooled"), SHORT, runs=posts.root / "runs")
    evaluate_run(trained.run, posts, missing="image")
    monkeypatch.setattr(chart, "FORMATS", ("svg",))  # the others take seconds
    out, figures = str(tmp_path / "new" / "all.html"), str(tmp_path / "figures")
    names = [trained.run.name, ablation.path.name, str(trained.run)]
    options = ["--out", out, "--figures", figures, "--language", "en", "--json", "--runs", str(posts.root / "runs")]
    assert run_command(["report", *names, *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == out
    files = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert files == sorted(Path(path).name for path in found["figures"])
    assert {"ablation.csv", "shapley.svg", "missing-accuracy.csv", "epochs-loss.svg"} <= {*files}
    with (tmp_path / "figures" / "ablation.csv").open(encoding="utf-8-sig") as file:
        written = {row["row"]: float(row["difference"]) for row in csv.DictReader(file) if row["metric"] == "accuracy"}
    assert written == {row.name: row.difference["accuracy"] for row in ablation.rows if row.tests}
    with (tmp_path / "figures" / "confusion.csv").open(encoding="utf-8-sig") as file:
        assert sum(int(row["count"]) for row in csv.DictReader(file)) == N
    text = (tmp_path / "new" / "all.html").read_text("utf-8")
    assert f"<title>{trained.run.name} · {ablation.path.name}</title>" in text  # each run once


def test_runs_of_one_name_are_told_apart_and_a_folder_of_runs_is_its_newest(
    trained: TrainedHead, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(trained.run, tmp_path / trained.run.name))
    assert [run.name for run in read_runs([trained.run, other])] == [str(trained.run), str(other)]
    assert read_runs([tmp_path])[0].path == other
    assert write_report([tmp_path]).path == other / "report.html"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.json", '{"format": 1}', "not a run's metrics"),
        ("history.csv", "fold,epoch\n0,1\n", "not the history of a run .*train_loss"),
        ("history.csv", "fold,epoch,train_loss,valid_loss\n0,1,x,1\n", "not the history of a run .*'x'"),
        ("predictions.csv", "id,repeat,fold,label,predicted,a,b,c\np0,0,0,a,z,1,0,0\n", "not a run's predictions .*z"),
        ("predictions.csv", "id,repeat,fold,label,predicted,a,b,c\np0,0,0,a,a,1,0\n", "not a run's predictions"),
        ("config.json", '{"format": 1, "classes": []}', "not a run's configuration"),
        ("curve.csv", "missing,share\nimage,x\n", "not a curve"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(
    trained: TrainedHead, tmp_path: Path, file: str, content: str, message: str
) -> None:
    run = Path(shutil.copytree(trained.run, tmp_path / "run"))
    (run / file).write_text(content)
    with pytest.raises(ValueError, match=rf"{file}: {message}[^\n]*; write it again") as error:
        write_report([run])
    assert "\n" not in str(error.value)


def test_where_nothing_can_be_written_or_read_is_said(trained: TrainedHead, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--out .*: a folder; give a file, as .*report\.html"):
        write_report([trained.run], out=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"--figures .*cannot be written"):
        write_report([trained.run], out=tmp_path / "a.html", figures=tmp_path / "file")
    assert not (tmp_path / "a.html").exists()
    with pytest.raises(ValueError, match="holds no trained heads"):
        write_report([tmp_path / "nowhere"])
