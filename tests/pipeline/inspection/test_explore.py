"""The table for embedding-atlas, and how the report finds the posts of a run again."""

from __future__ import annotations

import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shown_posts import COUNT, shown_posts

from msa.cli import run_command
from msa.features.installation import install_line
from msa.features.messages import Notice
from msa.features.posts.samples import Corpus
from msa.pipeline.inspection.explore import explore_run
from msa.pipeline.runs.stored_run import read_run

TRAIN = ("--image", "images", "--text", "texts", "--fusion", "concat", "--hidden", "8", "--epochs", "2", "--folds", "0")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Posts whose images lie elsewhere than their table."""
    corpus = shown_posts(tmp_path_factory.mktemp("posts"), labels={5: ""})
    (corpus.root / "tables").mkdir()
    (corpus.root / "posts.csv").rename(corpus.root / "tables" / "posts.csv")
    return corpus


@pytest.fixture(scope="module")
def run(corpus: Corpus) -> Path:
    """A run by the command line of one split: a fifth of the posts is tested."""
    cache, runs = str(corpus.root / "cache"), str(corpus.root / "runs")
    given = ["--images", str(corpus.root), "--cache", cache, "--runs", runs, *TRAIN]
    assert run_command(["train-head", str(corpus.root / "tables" / "posts.csv"), *given]) == 0
    return corpus.root / "runs" / "concat"


def report(*arguments: object) -> int:
    return run_command(["report", *map(str, arguments)])


def rows_of(path: Path) -> dict[str, list[Any]]:
    return dict(pytest.importorskip("pyarrow.parquet").read_table(path).to_pydict())


def test_every_post_has_its_text_picture_prediction_and_vector(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    to = tmp_path / "new folder" / "posts.parquet"
    assert report(run, "--out", tmp_path / "a.html", "--explore", to, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["explore_command"] == f"embedding-atlas '{to}' --vector vector --text text --image picture"
    rows = rows_of(to)
    assert [*rows] == ["id", "text", "label", "prediction", "correct", "loss", "image", "picture", "vector"]
    assert rows["id"] == [f"p{number}" for number in range(COUNT)]
    assert rows["text"][7] == "text 7"
    assert rows["label"][4:7] == ["b", None, "a"]
    assert Path(rows["image"][7]).name == "7.png"
    assert Image.open(io.BytesIO(rows["picture"][7])).format == "JPEG"
    tested = {name for name, _ in read_run(run).predictions.posts}  # type: ignore[union-attr]
    assert 10 < len(tested) < COUNT / 2
    for name, label, prediction, correct, loss in zip(*(rows[key] for key in [*rows][0:1] + [*rows][2:6]), strict=True):
        assert (prediction is not None) == (correct is not None) == (loss is not None) == (name in tested)
        assert prediction is None or correct == (label == prediction)
    vectors = np.array(rows["vector"])
    assert vectors.shape == (COUNT, 6 + 4)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :6], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, 6:], axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors[8], vectors[9])  # a copy


def test_what_a_post_lacks_is_empty_and_what_changed_is_counted(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    root = run.parent.parent
    from msa.features.posts.layouts import ReadOptions, read_corpus

    posts = read_corpus(root / "tables" / "posts.csv", options=ReadOptions(images=root))
    first, second, *others = posts.samples
    trained = [sample for sample in others if sample.label]
    changed = replace(posts, samples=[replace(first, image=None), replace(second, text="text 3"), *trained])
    with pytest.warns(Notice, match=r"1 texts cannot be read, or have changed"), pytest.warns(Notice, match="1 images"):
        explore_run(read_run(run), changed, tmp_path / "a.parquet")
    rows = rows_of(tmp_path / "a.parquet")
    assert rows["picture"][0] is rows["image"][0] is rows["text"][1] is None
    assert np.array(rows["vector"])[0, :6].tolist() == [0] * 6
    assert rows["picture"][1]


def test_without_pyarrow_the_line_to_install_it_is_told_before_any_work(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert report(run, "--out", tmp_path / "a.html", "--explore", tmp_path / "a.parquet") == 2
    assert capsys.readouterr().err == f"msa: pyarrow is not installed: `{install_line('parquet')}`\n"
    assert not list(tmp_path.iterdir())


def test_posts_are_read_where_and_as_they_were_or_where_they_are_given(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = run.parent.parent, tmp_path / "a.html"
    assert json.loads((run / "config.json").read_text())["others"]["images"] == str(root)  # not a JSON error
    assert report(run, "--out", out) == 0
    assert '<img src="data:' in out.read_text("utf-8")
    moved = Path(shutil.copytree(run, tmp_path / "moved"))
    assert report(moved, "--out", out) == 0
    assert '<img src="data:' not in out.read_text("utf-8")
    assert report(moved, "--out", out, "--posts", root / "tables" / "posts.csv") == 0
    assert '<img src="data:' in out.read_text("utf-8")
    capsys.readouterr()
    assert report(moved, "--out", out, "--explore", tmp_path / "a.parquet") == 2
    assert "are not where they were; add --posts POSTS" in capsys.readouterr().err
    assert report(run, moved, "--out", out, "--posts", root) == 2
    assert "are for one trained head, got 2; name one run" in capsys.readouterr().err
    (tmp_path / "other.csv").write_text("id,text,label\nx,hello,a\n")
    assert report(run, "--out", out, "--posts", tmp_path / "other.csv") == 2
    assert "has none of the posts of" in capsys.readouterr().err
