"""`msa explain` on drawn posts with the embedded encoders, and on imported features."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cached_posts import HEAD, QUICK, cached_posts, stage

from msa.cli import run_command
from msa.features.posts.samples import Corpus
from msa.pipeline.demo.demo import write_demo_corpus
from msa.pipeline.explain_posts import explain_ids
from msa.pipeline.explanation.originals import seen_in
from msa.pipeline.runs.run_predictions import load_run_features
from msa.pipeline.runs.runs import load_run
from msa.pipeline.train_head import train_head

SMALL = ["--folds", "3", "--epochs", "2", "--hidden", "16", "--token-width", "16", "--patches", "2x3"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn posts with features of the embedded encoders, and a run of an attention head."""
    folder = tmp_path_factory.mktemp("explain")
    write_demo_corpus(folder, posts=64)
    assert here(folder, ["extract", "--max-bad", "1"]) == 0
    assert here(folder, ["train-head", "--fusion", "coattention", *SMALL]) == 0
    return folder


def here(folder: Path, arguments: Sequence[str]) -> int:
    with chdir(folder):
        return run_command(arguments)


def printed(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    code = here(folder, ["explain", "runs", *arguments])
    found = capsys.readouterr()
    assert code == 0, found.err
    return found.out


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert here(folder, ["explain", "runs", *arguments]) == 2
    return capsys.readouterr().err


def stored_lines(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "runs/coattention/predictions.csv").open(encoding="utf-8-sig") as file:
        return {line["id"]: line for line in csv.DictReader(file)}


@pytest.mark.slow
def test_a_test_post_has_the_stored_prediction_of_the_heads_that_never_saw_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, stored = next(iter(stored_lines(home).items()))
    found = json.loads(printed(home, capsys, "--id", name, "--posts", ".", "--json"))
    assert (found["label"], found["truth"]) == (stored["predicted"], stored["label"])
    assert (found["folds"], found["held_out"], found["trained"]) == ([int(stored["fold"])], True, False)
    for label, p in found["probabilities"].items():
        assert p == pytest.approx(float(stored[label]), abs=2e-6)
    (image,) = found["images"]
    assert np.shape(image["weights"]) == (2, 3)
    assert len(image["box"]) == 4
    (text,) = found["texts"]
    assert not any(word.startswith(("##", "token ", "[CLS]")) for word in text["words"])
    assert found["notes"] == []


@pytest.mark.slow
def test_what_is_printed_fits_80_columns_and_names_files(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(home, capsys, "--id", next(iter(stored_lines(home))), "--out", "shown")
    assert max(map(len, text.splitlines())) <= 80
    assert "which never saw the post" in text
    assert "attention of each layer:\nimage_layers.0, image to text: words " in text
    assert "page: shown/explanation.html" in text
    assert (home / "shown/words.csv").is_file()
    assert "data:image/png;base64," in (home / "shown/explanation.html").read_text("utf-8")


@pytest.mark.slow
def test_a_new_post_is_explained_by_all_folds(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = next((home / "data").glob("*.jpg"))
    found = json.loads(
        printed(home, capsys, "--image", str(photo), "--text", "so unbelievably happy", "--out", "new.html", "--json")
    )
    assert (found["id"], found["folds"], found["held_out"]) == (photo.name, [0, 1, 2], False)
    assert found["texts"][0]["words"] == ["so", "unbelievably", "happy"]
    assert found["files"] == ["new.html"]
    alone = json.loads(printed(home, capsys, "--text", "so happy", "--json"))
    assert alone["images"] == []
    predicted = home / "runs"
    capsys.readouterr()
    assert here(home, ["predict", str(predicted), "--text", "so happy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"][0]["probabilities"] == pytest.approx(
        alone["probabilities"], abs=2e-6
    )


@pytest.mark.slow
def test_mistakes_are_one_line_with_a_remedy(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "give --id ID, or a new one as --image and --text" in refused(home, capsys)
    assert "no post '1x'" in refused(home, capsys, "--id", "1x")
    error = refused(home, capsys, "--id", "absent", "--posts", ".")
    assert "no post 'absent' among the " in error
    assert error.count("\n") == 1
    assert "one post is explained" in refused(home, capsys, "--id", "1", "--text", "x", "--posts", ".")
    assert "--text is blank" in refused(home, capsys, "--text", " ")


def test_imported_features_have_numbered_tokens_and_no_grid(tmp_path: Path) -> None:
    posts = cached_posts(tmp_path)
    run = train_head(posts, stage(posts), replace(HEAD, fusion="attention"), QUICK, runs=tmp_path / "runs").run
    (found,) = explain_ids(run, posts, ["p7"])
    assert found.explanation.texts[0].words == ("token 1", "token 2", "token 3")
    assert sorted(map(str, found.explanation.notes)) == [
        "images: its tokens form no grid",
        "texts: tokens are numbered, as its words are not known",
    ]


def test_posts_are_known_by_id_and_content(tmp_path: Path) -> None:
    posts = cached_posts(tmp_path)
    result = train_head(posts, stage(posts, folds=None), HEAD, QUICK, runs=tmp_path / "runs")
    path = result.run
    split = json.loads((path / "split.json").read_text())["folds"][0]
    run, cache = load_run(path), tmp_path / "cache"
    chosen: dict[str, Any] = {part: split[part][0] for part in ("train", "valid", "test")}
    some = Corpus(tmp_path, "table", [one for one in posts.samples if one.id in chosen.values()])
    table = load_run_features(run, some, cache)
    seen = dict(zip(table.posts.ids, seen_in(path, table.posts), strict=True))
    assert seen[chosen["test"]] == ((0,), False)
    assert seen[chosen["train"]] == seen[chosen["valid"]] == ((), True)
    changed = replace(table.posts, contents=[("0" * 32, "1" * 32)] * 3)
    assert set(seen_in(path, changed)) == {((), False)}
    trained, held = explain_ids(path, some, [chosen["train"], chosen["test"]])
    assert (trained.trained, held.trained) == (True, False)
    assert "the mean over the folds (1), which learned from the post" in trained.to_text()
