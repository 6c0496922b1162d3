"""The commands as a user types them, on a small generated corpus, with the embedded encoders."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from msa.cli import run_command
from msa.pipeline.demo.demo import write_demo_corpus

QUICK = ["--epochs", "3", "--token-width", "32", "--hidden", "32", "--patches", "2x2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a demo corpus, its msa.toml and its features extracted."""
    folder = tmp_path_factory.mktemp("home") / "generated posts"
    write_demo_corpus(folder, posts=80)
    done = msa(folder, "extract", "--json", "--max-bad", "1")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["rows"] == 80
    for encoder in report["encoders"]:
        parts = ("encoded", "cached", "duplicate", "missing", "bad")
        assert sum(encoder[part] for part in parts) == 80
    (folder / "first.json").write_text(done.stdout)
    return folder


def msa(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a user does."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "msa.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def here(folder: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run the command in this process: quicker, the same code."""
    with chdir(folder):
        code = run_command(arguments)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def as_json(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, err = here(folder, capsys, [*arguments, "--json"])
    assert code == 0, err
    return json.loads(out)


def test_extract_reports_what_it_did_and_does_it_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = json.loads((home / "first.json").read_text())
    keys = ["name", "modality", "fingerprint", "path", "rows", "encoded", "cached", "duplicate", "missing", "bad"]
    for encoder in first["encoders"]:
        assert list(encoder) == [*keys, "cut", "seconds", "bytes"]
    image, text = first["encoders"]
    assert image["bad"] == 1
    assert image["missing"] > 0
    assert text["duplicate"] > 0
    again = as_json(home, capsys, "extract", "--max-bad", "1")
    for before, after in zip(first["encoders"], again["encoders"], strict=True):
        assert after["encoded"] == 0
        assert after["cached"] == before["encoded"]
        assert after["bytes"] == before["bytes"]


def test_too_many_bad_items_exit_with_1_and_are_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = here(home, capsys, ["extract", "--max-bad", "0"])
    assert code == 1
    assert "errors.jsonl" in out
    assert "--max-bad" in err


def test_train_head_writes_a_run_that_predicts_the_same_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train-head", "--fusion", "attention", "--folds", "3", "--name", "one", *QUICK]
    first = as_json(home, capsys, *arguments)
    assert {"run", "fusion", "metrics", "baselines", "seconds"} <= first.keys()
    assert {"accuracy", "macro_f1", "weighted_f1"} <= first["metrics"].keys()
    assert first["metrics"]["accuracy"].keys() == {"mean", "std"}
    assert first["baselines"].keys() == {"majority", "linear", "linear_image", "linear_text", "svm"}
    second = as_json(home, capsys, *arguments)
    assert second["run"] != first["run"]
    assert second["metrics"] == first["metrics"]
    run = home / first["run"]
    files = {path.name for path in run.iterdir()}
    wanted = {"config.json", "split.json", "history.csv", "metrics.json", "predictions.csv", "head.safetensors"}
    wanted |= {"opinions.csv", "baselines.csv", "batches.csv"}
    assert files == wanted | {"report.html"}
    with (run / "predictions.csv").open(encoding="utf-8-sig") as file:
        scored = list(csv.DictReader(file))
    assert len(scored) == 70
    for row in scored:
        probabilities = {name: float(row[name]) for name in ("positive", "neutral", "negative")}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert row["predicted"] == max(probabilities, key=lambda name: probabilities[name])
    hits = sum(row["predicted"] == row["label"] for row in scored) / len(scored)
    per_fold = json.loads((run / "metrics.json").read_text())["per_fold"]
    assert hits == pytest.approx(sum(f["accuracy"] for f in per_fold) / 3, abs=0.02)


def test_predict_writes_the_course_answer_and_one_post_equals_its_cached_row(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_json(home, capsys, "train-head", "--fusion", "gated", "--name", "two", *QUICK)
    everything = as_json(home, capsys, "predict", "runs/two", "--rows", "all")
    assert len(everything["predictions"]) == 80
    found = as_json(home, capsys, "predict", "runs/two")
    answers = (home / "runs/two/predictions" / home.name / "test_with_label.txt").read_text().splitlines()
    asked = (home / "test_without_label.txt").read_text().splitlines()
    assert answers[0] == "guid,tag"
    assert [line.split(",")[0] for line in answers] == [line.split(",")[0] for line in asked]
    assert not any(line.endswith("null") for line in answers)
    post = next(p for p in found["predictions"] if (home / f"data/{p['id']}.jpg").exists())
    text = (home / f"data/{post['id']}.txt").read_bytes().decode("utf-8-sig", "replace")
    one = as_json(home, capsys, "predict", "runs/two", "--image", f"data/{post['id']}.jpg", "--text", text)
    assert one["predictions"][0]["label"] == post["label"]
    for name, probability in one["predictions"][0]["probabilities"].items():
        assert probability == pytest.approx(post["probabilities"][name], abs=2e-3)


def test_ablate_shows_three_rows_and_refuses_one_that_changed_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = as_json(home, capsys, "ablate", "--modality", "image", "--fusion", "gated", *QUICK)
    assert [row["inputs"] for row in table["rows"]] == ["both", "text", "image"]
    assert table["rows"][0]["difference"]["accuracy"] == 0
    for row in table["rows"]:
        gap = row["metrics"]["accuracy"]["mean"] - table["rows"][0]["metrics"]["accuracy"]["mean"]
        assert row["difference"]["accuracy"] == pytest.approx(gap)
    code, out, _ = here(home, capsys, ["ablate", "--fusion", "text", *QUICK, "--json"])
    assert code == 1
    blind = json.loads(out)
    assert [row["inputs"] for row in blind["rows"]] == ["both", "image"]
    assert "does not read it" in blind["refused"]["text"]


def test_posts_of_which_nothing_can_be_read_are_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_json(home, capsys, "train-head", "--fusion", "concat", "--name", "seeing", *QUICK)
    (home / "odd").mkdir()
    (home / "odd" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (home / "odd" / "posts.csv").write_text("id,image,text\nx,broken.jpg,\ny,,so happy\nz,,\n")
    found = as_json(home, capsys, "predict", "runs/seeing", "odd", "--cache", "odd/cache", "--out", "odd/out")
    assert found["blind"] == ["x", "z"]
    assert [post["id"] for post in found["predictions"]] == ["x", "y", "z"]
    code, _, err = here(home, capsys, ["predict", "runs/seeing", "--image", "odd/broken.jpg"])
    assert code == 2
    assert "{" not in err


def test_a_folder_that_is_named_like_an_encoder_does_no_harm(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "minilm").mkdir()
    as_json(home, capsys, "extract", "--image", "none", "--max-bad", "1")
    as_json(home, capsys, "train-head", "--image", "none", "--fusion", "text", "--name", "plain", *QUICK)
    assert as_json(home, capsys, "predict", "runs/plain")["predictions"]


def test_check_counts_what_the_demo_planted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(home, capsys, "check")
    wanted = {"rows", "labels", "unlabelled", "missing_image", "missing_text", "problems", "duplicates"}
    assert wanted <= found.keys()
    assert found["rows"] == sum(found["labels"].values()) + found["unlabelled"] == 80
    assert len(found["problems"]) == 1


def test_predict_refuses_another_encoder_than_the_one_it_was_trained_on(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(as_json(home, capsys, "train-head", "--fusion", "text", "--name", "foreign", *QUICK)["run"])
    config = json.loads((home / run / "config.json").read_text())
    config["encoders"]["text"][0]["weights"] = "sha256:" + "0" * 64
    (home / run / "config.json").write_text(json.dumps(config))
    code, _, err = here(home, capsys, ["predict", str(run)])
    assert code == 2
    assert "fingerprint" in err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["extract", "--image", "vgg61"], "vgg16"),
        (["extract", "nowhere"], "nowhere"),
        (["extract", "--batch-size", "x"], "batch-size"),
        (["extract", "--clean", "socail"], "social"),
        (["train-head", "--fusion", "atention"], "attention"),
        (["train-head", "--text", "gensim:word2vec"], "msa extract --text gensim:word2vec"),
        (["train-head", "--metric", "acuracy"], "accuracy"),
        (["train-head", "--option", "heads"], "NAME=VALUE"),
        (["train-head", "--fusion", "attention", "--patches", "9x9"], "finer"),
        (["train-head", "--folds", "400"], "folds"),
        (["train-heads"], "train-head"),
        (["predict", "runs/none"], "there is no run"),
        (["ablate", "--text", "none"], "both modalities"),
        (["--config", "none.toml", "check"], "none.toml"),
    ],
)
def test_user_errors_are_one_line_with_a_remedy(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    code, out, err = here(home, capsys, arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("msa: ")
    assert err.count("\n") == 1
    assert part in err


@pytest.mark.parametrize("command", [[], ["cache"]])
def test_without_a_command_the_help_is_shown_as_it_is(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(command) == 2
    printed = capsys.readouterr()
    assert "Usage: msa" in printed.out
    assert all(name in printed.out for name in (("ls", "gc") if command else ("train-head", "--version")))
    assert printed.err == ""


def test_debug_lets_the_traceback_through(home: Path) -> None:
    done = msa(home, "--config", "none.toml", "check", "--debug")
    assert "Traceback" in done.stderr
    quiet = msa(home, "--config", "none.toml", "check")
    assert (quiet.returncode, "Traceback" in quiet.stderr) == (2, False)


def test_init_writes_a_configuration_that_every_command_accepts(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = here(tmp_path, capsys, ["init", "--data", str(home)])
    assert (code, err) == (0, "")
    shutil.copytree(home / "cache", tmp_path / "cache")
    assert as_json(tmp_path, capsys, "extract", "--max-bad", "1")["encoders"][0]["encoded"] == 0
    assert as_json(tmp_path, capsys, "train-head", "--fusion", "concat", *QUICK)["fusion"] == "concat"
    code, _, err = here(tmp_path, capsys, ["init"])
    assert code == 2
    assert "msa.toml" in err


def test_encoders_and_doctor_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = as_json(tmp_path, capsys, "encoders")
    names = {entry["name"]: entry for entry in listed["encoders"]}
    assert names["efficientnet_lite0"]["here"] is True
    assert {"vgg16", "resnet50", "minilm", "google-bert/bert-base-uncased"} <= names.keys()
    code, out, _ = here(tmp_path, capsys, ["doctor"])
    assert code == 0
    assert "torchvision" in out
