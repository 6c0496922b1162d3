"""`msa export` writes folders that predict without msa, describe themselves, and name nothing of this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cached_posts import HEAD, QUICK, cached_posts, stage
from experiments import IMAGE
from exported_runs import SIDES, drawn_features, untrained_run
from huggingface_hub import ModelCard

from msa.cli import run_command
from msa.features.cache.exporting import export_embeddings
from msa.features.messages import Notice
from msa.features.posts.samples import Corpus
from msa.pipeline.data.patches import coarsen
from msa.pipeline.exporting import exported_model
from msa.pipeline.exporting.export import describe_model, export_run
from msa.pipeline.exporting.exported_model import Model
from msa.pipeline.exporting.graph import feature_inputs
from msa.pipeline.predict import predict_corpus
from msa.pipeline.train_head import train_head
from msa.pipeline.trained_run import load_run

ALONE = """
import sys
from exported_model import Model, read_features
image, text = read_features("../../image"), read_features("../../text")
ids = sorted(set(image) | set(text))
labels, probabilities = Model(".").predict(image=[image.get(i) for i in ids], text=[text.get(i) for i in ids])
for row in zip(ids, labels, probabilities.tolist()):
    print(*row[:2], *row[2])
heavy = {"msa", "torch", "onnx", "safetensors"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Posts with a cache, and the run `gated` on pooled vectors of a single split."""
    posts = cached_posts(tmp_path_factory.mktemp("posts"))
    train_head(posts, stage(posts, folds=None), replace(HEAD, inputs="pooled"), QUICK, runs=posts.root / "runs")
    return posts


@pytest.fixture(scope="module")
def exported(posts: Corpus) -> Path:
    """The folder with `onnx`, `torch` and `hub` of that run."""
    folder = posts.root / "exported"
    load_run(posts.root / "runs/gated").export(onnx=folder / "onnx", torch=folder / "torch", hub=folder / "hub")
    return folder


def test_an_exported_model_predicts_without_msa_and_torch(posts: Corpus, exported: Path) -> None:
    for modality in ("image", "text"):
        export_embeddings(posts.root / "cache", f"{modality}s", posts.root / modality, posts)
    command = [sys.executable, "-IB", "-c", f"import sys; sys.path.insert(0, '.')\n{ALONE}"]
    run = subprocess.run(command, cwd=exported / "onnx", capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    found = {name: (label, list(map(float, row))) for name, label, *row in map(str.split, run.stdout.splitlines())}
    wanted = predict_corpus(posts.root / "runs/gated", posts, rows="all")
    assert {name: label for name, (label, _) in found.items()} == dict(zip(wanted.ids, wanted.labels, strict=True))
    for name, row in zip(wanted.ids, wanted.probabilities, strict=True):
        np.testing.assert_allclose(found[name][1], row, atol=1e-5)


def test_all_folders_give_the_same(exported: Path) -> None:
    draw = np.random.default_rng(0)
    image, text = draw.normal(size=(300, 6)), [None, *draw.normal(size=(299, 6))]
    found = [Model(exported / kind).outputs(image=image, text=text) for kind in ("onnx", "torch", "hub")]
    for logits, probabilities in found:
        np.testing.assert_allclose(logits, found[0][0], atol=1e-5)
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    assert Model(exported / "onnx").outputs(image=image[:0])[0].shape == (0, 3)


def test_each_folder_describes_itself(exported: Path) -> None:
    common = {"README.md", "exported_model.py", "model.json"}
    own = {"onnx": {"model.onnx"}, "torch": {"model.pt2"}, "hub": {"model.onnx", "model.safetensors", "config.json"}}
    for kind, files in own.items():
        folder = exported / kind
        assert {path.name for path in folder.iterdir()} == common | files
        described = json.loads((folder / "model.json").read_text())
        assert described["classes"] == ["a", "b", "c"]
        assert described["calibrated"]
        assert {one["name"] for one in described["encoders"].values()} == {"images", "texts"}
        card = ModelCard((folder / "README.md").read_text())
        assert card.data.library_name == "msa"
        assert [result.metric_type for result in card.data.eval_results] == ["accuracy", "f1"]
        assert all(0 <= result.metric_value <= 1 for result in card.data.eval_results)
        for words in ("## Labels\n\n0. a\n1. b\n2. c\n", "## Intended use", "120 posts", "| linear |", "calibrated"):
            assert words in card.text
        assert "## Training\n\n| setting | value |" in card.text
    assert "`torch.export.load('model.pt2').module()`" in (exported / "torch/README.md").read_text()


def test_the_command_writes_what_the_method_writes(
    posts: Corpus, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, folder = str(posts.root / "runs/gated"), tmp_path / "torch"
    assert run_command(["export", run, "--torch", str(folder), "--json"]) == 0
    assert str(folder) in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {path.name for path in (exported / "torch").iterdir()}
    assert run_command(["export", run]) == 2
    assert "--onnx FOLDER" in capsys.readouterr().err


def test_nothing_names_this_machine_or_single_posts(posts: Corpus, exported: Path) -> None:
    for file in exported.rglob("*.*"):
        content = file.read_bytes() if file.is_file() else b""
        assert str(posts.root).encode() not in content, file
        assert str(Path(exported_model.__file__).parents[2]).encode() not in content, file
        assert b"p119" not in content, file


def test_msa_opens_the_folder_for_a_hub_as_a_run(posts: Corpus, exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported / "hub", tmp_path / "downloaded")
    with pytest.warns(Notice, match="downloaded came without its split: which of these posts"):
        found = predict_corpus(folder, posts, rows="all", cache=posts.root / "cache")
    wanted = predict_corpus(posts.root / "runs/gated", posts, rows="all")
    np.testing.assert_array_equal(found.probabilities, wanted.probabilities)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({}, "no folder to write; give --onnx FOLDER, --torch FOLDER or --hub FOLDER"),
        ({"onnx": "taken"}, "--onnx .*taken exists already; delete it, or name another folder"),
        ({"onnx": "new", "torch": "new"}, "--onnx and --torch name one folder; give each its own"),
    ],
)
def test_folders_that_cannot_be_written_are_refused(
    posts: Corpus, tmp_path: Path, folders: dict[str, str], message: str
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").touch()
    with pytest.raises(ValueError, match=message):
        export_run(posts.root / "runs/gated", **{kind: tmp_path / name for kind, name in folders.items()})
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({}, "same number of posts, and one must be given"),
        ({"image": np.ones((2, 6)), "text": np.ones((3, 6))}, r"same number of posts.*'image': 2, 'text': 3"),
        ({"picture": np.ones((2, 6))}, "there is no input picture; the model reads image, text"),
        ({"image": np.ones((2, 5))}, r"image wants \(1, 6\) for a post; got \(1, 5\)"),
        ({"text": np.full((2, 6), np.nan)}, "the text features of a post hold NaN or infinity"),
    ],
)
def test_features_that_do_not_fit_are_refused(exported: Path, features: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Model(exported / "onnx").predict(**features)


@pytest.mark.parametrize(("count", "grid"), [(49, (4, 4)), (50, (7, 7)), (196, (3, 5)), (17, (4, 4)), (16, (1, 1))])
def test_the_loader_averages_patches_as_msa_does(count: int, grid: tuple[int, int]) -> None:
    tokens = np.random.default_rng(0).normal(size=(count, 6)).astype(np.float16)
    np.testing.assert_array_equal(exported_model.coarsen(tokens.astype(np.float32), grid), coarsen(tokens, grid))


def test_the_loader_refuses_image_tokens_that_are_no_square_map() -> None:
    with pytest.raises(ValueError, match="15 image tokens are no square map of 4x4 patches or more"):
        exported_model.coarsen(np.ones((15, 6)), (4, 4))


def test_only_maps_of_image_tokens_are_averaged_to_patches() -> None:
    run = untrained_run(replace(HEAD, patches=(2, 2)), drawn_features(SIDES, tokens=True), 1)
    assert [one["patches"] for one in describe_model(run, feature_inputs(run))["inputs"]] == [(2, 2), None]
    pooled = replace(HEAD, inputs="pooled", patches=(2, 2))
    run = untrained_run(pooled, drawn_features({"image": (IMAGE,), "text": ()}, tokens=False), 1)
    assert [one["patches"] for one in describe_model(run, feature_inputs(run))["inputs"]] == [None]
