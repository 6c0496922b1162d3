"""Image and text embedded together, from extraction to predictions: every step reads it, or says that it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joint_models import write_joint
from PIL import Image

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.sources import EncoderRequest
from msa.features.extraction.extract import extract
from msa.features.extraction.settings import ExtractSettings
from msa.features.posts.samples import Corpus, Sample
from msa.pipeline.ablation.ablate import How, ablate
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.prepare import prepare
from msa.pipeline.exporting.export import export_run
from msa.pipeline.exporting.exported_model import Model
from msa.pipeline.fused.training import begin_training
from msa.pipeline.predict import predict_corpus, predict_post
from msa.pipeline.runs.run_predictions import load_run_features
from msa.pipeline.runs.runs import load_run
from msa.pipeline.serving.warm_model import WarmModel
from msa.pipeline.train_head import train_head
from msa.pipeline.training.fold_inputs import FoldInputs, InputsKey

pytest.importorskip("sentence_transformers", reason="the extra `st` is not installed")

N = 36
WORDS = ("not not", "lovely lovely", "this is")
QUICK = TrainConfig(epochs=3, batch_size=8, lr=1e-2, modality_dropout=0.3)
CPU = ExtractSettings(device="cpu")


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    write_joint(folder := tmp_path_factory.mktemp("joint") / "model")
    return f"st:{folder}"


@pytest.fixture(scope="module")
def posts(name: str, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """N posts of three classes, some without image or text, and their embeddings in `cache`."""
    folder, draw = tmp_path_factory.mktemp("posts"), np.random.default_rng(0)
    samples = []
    for number in range(N):
        pixels = draw.integers(0, 60, (32, 40, 3)) + 70 * (number % 3)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        image = None if number % 12 == 5 else folder / f"{number}.png"
        text = None if number % 12 == 7 else f"what a day {WORDS[number % 3]} {'! ' * (number // 3)}"
        samples.append(Sample(f"p{number}", image, text, "abc"[number % 3]))
    corpus = Corpus(folder, "table", samples)
    request = EncoderRequest((name,), (name, f"{name}@joint"), EncoderOptions())
    reports = extract(corpus, request, folder / "cache", CPU).encoders
    assert [report.missing for report in reports] == [3, 3, 6]
    return corpus


def data(posts: Corpus, name: str, **options: Any) -> DataConfig:
    encoders = {"image": (name,), "text": (name, f"{name}@joint")}
    return DataConfig(posts.root / "cache", **{**encoders, "folds": 2, "device": "cpu", **options})


def test_a_run_predicts_alike_from_the_cache_alone_warm_and_exported(name: str, posts: Corpus, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained = train_head(posts, data(posts, name), HeadConfig("gated", hidden=8), QUICK, runs=tmp_path, name="run")
    assert set(trained.evaluation.baselines) >= {"linear_image", "linear_text", "linear_joint"}
    found = predict_corpus(run, posts, rows="all", settings=CPU)
    assert not found.blind
    warm = WarmModel.load(run, cache=None, settings=CPU, local_files_only=True)
    warm.warm()
    for row in (0, 5, 7):  # a whole post, one without image, one without text
        sample = posts.samples[row]
        assert sample.image is None or isinstance(sample.image, Path)
        assert sample.text is None or isinstance(sample.text, str)
        alone = predict_post(run, image=sample.image, text=sample.text, settings=CPU)
        np.testing.assert_allclose(alone.probabilities[0], found.probabilities[row], atol=1e-4)
        raw = None if sample.image is None else sample.image.read_bytes()
        (served,) = warm.predict([warm.prepare(raw, sample.text)])
        assert not isinstance(served, ValueError)
        np.testing.assert_allclose(served.probabilities[0], found.probabilities[row], atol=1e-4)
    specs = load_run(run).encoders
    export_run(run, torch=tmp_path / "torch")
    table = load_run_features(load_run(run), posts, posts.root / "cache")
    assert table.image is not None
    assert table.text is not None
    own, both = np.split(table.text.pooled, [specs[1].width], axis=1)
    given = {"image": table.image.pooled, "text": own, "text_1": both}
    rows = {key: [row if row.any() else None for row in vectors] for key, vectors in given.items()}
    labels, probabilities = Model(tmp_path / "torch").predict(**rows)
    assert labels == list(found.labels)
    np.testing.assert_allclose(probabilities, found.probabilities, atol=1e-5)


def test_a_run_of_nothing_else_needs_both_parts(name: str, posts: Corpus, tmp_path: Path) -> None:
    alone = data(posts, name, image=("none",), text=(f"{name}@joint",))
    train_head(posts, alone, HeadConfig("concat", hidden=8), QUICK, runs=tmp_path, name="run")
    image = posts.samples[0].image
    assert isinstance(image, Path)
    assert len(predict_post(tmp_path / "run", image=image, text="a day", settings=CPU).labels) == 1
    with pytest.raises(ValueError, match=r"the run reads nothing of this post; its encoders are st:model@joint; give"):
        predict_post(tmp_path / "run", image=None, text="a day", settings=CPU)
    warm = WarmModel.load(tmp_path / "run", cache=None, settings=CPU, local_files_only=True)
    assert warm.reads == ("image", "text")
    with pytest.raises(ValueError, match="the post has text alone; the run reads image and text together"):
        warm.prepare(None, "a day")


@pytest.mark.parametrize("how", ["retrain", "null", "shuffle"])
def test_an_ablation_removes_it_with_either_modality(name: str, posts: Corpus, tmp_path: Path, how: How) -> None:
    found = ablate(posts, data(posts, name), HeadConfig("concat", hidden=8), QUICK, how=how, runs=tmp_path)
    assert {row.inputs for row in found.rows} >= {"both", "image", "text"}


def test_what_does_not_read_it_says_so(name: str, posts: Corpus, tmp_path: Path) -> None:
    encoders = data(posts, name)
    with pytest.raises(ValueError, match=r"@joint is one vector of a post, without tokens; add --inputs pooled"):
        train_head(posts, encoders, HeadConfig("attention"), QUICK, runs=tmp_path)
    with pytest.raises(ValueError, match="--fusion text is the text alone"):
        train_head(posts, encoders, HeadConfig("text"), QUICK, runs=tmp_path)


def test_fused_trainings_are_those_of_single_heads(name: str, posts: Corpus) -> None:
    table, folds, _ = prepare(posts, data(posts, name), HeadConfig("gated"), seed=0)
    inputs = FoldInputs.build(table, InputsKey.of(HeadConfig("gated"), folds[0].train, None), "cpu")
    configs = [HeadConfig("gated", hidden=8, dropout=0.1) for _ in range(2)]
    fused, single = (
        begin_training(
            [inputs.head(config, seed) for seed, config in enumerate(configs)],
            [QUICK, QUICK],
            inputs.inputs,
            inputs.labels,
            folds[0],
            fused=fused,
        )
        for fused in (True, False)
    )
    losses = []
    for training in (fused, single):
        training.train_to(3, inputs.inputs)
        losses.append([[record.train["loss"] for record in training.history(number)] for number in range(2)])
    np.testing.assert_allclose(*losses, rtol=1e-4)
