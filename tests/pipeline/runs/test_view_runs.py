"""Runs that score over views replay their own figures; those that do not need no views to predict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from msa.features.encoders import sources
from msa.features.encoders.encoder import Encoded, Encoder, EncoderOptions, Source
from msa.features.encoders.views import view_source
from msa.features.extraction.extract import extract
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import EncoderSpec
from msa.features.store.store import stored_specs
from msa.pipeline.ablation.ablate import ablate
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.predict import predict_corpus, predict_post
from msa.pipeline.runs.runs import load_run
from msa.pipeline.train_head import train_head

EYE = EncoderSpec(
    "eye", "image", "timm", "fake", "sha256:0", "last", "mean", '{"interpolation":"bilinear"}', 6, "float32"
)
WORDS = EncoderSpec("words", "text", "gensim", "fake", "sha256:0", "last", "mean", "{}", 3, "float32")
QUICK = TrainConfig(epochs=5, batch_size=16, lr=3e-3)
N = 60


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """N posts of three classes with a drawn image each, but the last has none."""
    folder = tmp_path_factory.mktemp("posts")
    rng = np.random.default_rng(0)
    samples = []
    for number in range(N):
        path = folder / f"{number}.png"
        pixels = rng.integers(0, 200, (24 + number % 7, 30, 3), np.uint8)
        pixels[..., number % 3] += 40
        Image.fromarray(pixels).save(path)
        samples.append(Sample(f"p{number}", path if number < N - 1 else None, f"text {number}", "abc"[number % 3]))
    return Corpus(folder, "table", samples)


class Eye(Encoder):
    """A model of 6 numbers: mean and spread of each channel over a thumbnail."""

    specs = (EYE,)

    def preprocess(self, item: Tensor, key: str = "") -> Tensor:
        pixels: Tensor = F.resize(item, [8, 8], InterpolationMode.BILINEAR)
        return pixels

    def length(self, prepared: Tensor) -> int:
        return 1

    def encode(self, batch: list[Tensor]) -> tuple[Encoded, ...]:
        tokens = [torch.cat([x.float().mean(2), x.float().std(2)]).T.numpy() / 50 for x in batch]  # (8, 6)
        return (Encoded(np.stack([item.mean(0) for item in tokens]), tokens),)


class Words(Eye):
    """A model of the letters of a text."""

    specs = (WORDS,)

    def preprocess(self, item: Any, key: str = "") -> Any:
        return np.array([[ord(letter) % 7, ord(letter) % 5, 1.0] for letter in item], np.float32)

    def encode(self, batch: list[Any]) -> tuple[Encoded, ...]:
        return (Encoded(np.stack([item.mean(0) for item in batch]), batch),)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The only encoders are these two; gives the names that were opened."""
    names: list[str] = []

    def open_encoder(name: str, modality: str, options: EncoderOptions = EncoderOptions()) -> Source:
        names.append(name)
        plain, view, index = name.partition("@view")
        model = {"eye": Eye, "words": Words}[plain]
        source = Source(model.specs, lambda runtime: model())
        return view_source(source, int(index)) if view else source

    monkeypatch.setattr(sources, "open_encoder", open_encoder)
    return names


def request(views: int) -> sources.EncoderRequest:
    return sources.EncoderRequest(("eye",), ("words",), views=views)


def test_prediction_replays_the_averaged_scores_and_extracts_the_views_it_needs(
    posts: Corpus, tmp_path: Path, opened: list[str]
) -> None:
    reports = extract(posts, request(2), tmp_path / "cache").encoders
    there = [(report.name, report.encoded, report.missing) for report in reports]
    assert there == [*((name, N - 1, 1) for name in ("eye", "eye@view1", "eye@view2")), ("words", N, 0)]
    stage = DataConfig(tmp_path / "cache", ("eye",), ())
    config = HeadConfig("image", hidden=16, views=2, average_views=True)
    run = train_head(posts, stage, config, QUICK, runs=tmp_path / "runs").run
    stored = json.loads((run / "config.json").read_text())
    assert (stored["head"]["views"], stored["head"]["average_views"]) == (2, True)
    assert [[spec["name"] for spec in view] for view in stored["views"]] == [["eye@view1"], ["eye@view2"]]
    opened.clear()
    predictions = predict_corpus(run, posts, rows="all", cache=tmp_path / "fresh")
    assert opened == ["eye", "eye@view1", "eye@view2"]
    assert {spec.name for spec in stored_specs(tmp_path / "fresh")} == {"eye", "eye@view1", "eye@view2"}
    again = dict(zip(predictions.ids, predictions.probabilities, strict=True))
    lines = [line.split(",") for line in (run / "predictions.csv").read_text().splitlines()[1:]]
    assert len(lines) > 8
    for name, _, _, _, _, *probabilities in lines:
        np.testing.assert_allclose(again[name], [float(one) for one in probabilities], atol=2e-6)
    one = posts.samples[3]
    alone = predict_post(run, image=one.image, text=None).probabilities[0]
    np.testing.assert_allclose(alone, again[one.id], atol=1e-6)


def test_a_run_that_does_not_average_needs_no_views_to_predict(
    posts: Corpus, tmp_path: Path, opened: list[str]
) -> None:
    extract(posts, request(1), tmp_path / "cache")
    stage = DataConfig(tmp_path / "cache", ("eye",), ())
    trained = train_head(posts, stage, HeadConfig("image", hidden=16, views=1), QUICK, runs=tmp_path / "runs")
    assert load_run(trained.run).views == ()
    opened.clear()
    predict_corpus(trained.run, posts, rows="all", cache=tmp_path / "fresh")
    assert opened == ["eye"]
    assert {spec.name for spec in stored_specs(tmp_path / "fresh")} == {"eye"}


def test_an_ablation_takes_views_and_still_refuses_a_head_that_does_not_look(
    posts: Corpus, tmp_path: Path, opened: list[str]
) -> None:
    extract(posts, request(1), tmp_path / "cache")
    stage = DataConfig(tmp_path / "cache", ("eye",), ("words",))
    config = HeadConfig("text", hidden=16, views=1, average_views=True)
    blind = ablate(posts, stage, config, QUICK, runs=tmp_path / "runs")
    assert "hiding the image changed no logits" in blind.refused["text"]
    settings = json.loads((blind.path / "ablation.json").read_text())["head"]
    assert (settings["views"], settings["average_views"]) == (1, True)
    assert not ablate(posts, stage, replace(config, fusion="gated"), QUICK, runs=tmp_path / "runs").refused


def test_a_view_in_a_cache_is_opened_again_by_its_name(posts: Corpus, tmp_path: Path) -> None:
    few = replace(posts, samples=posts.samples[:3])
    extract(few, sources.EncoderRequest(("efficientnet_lite0",), (), views=1), tmp_path)
    names = {spec.name: spec for spec in stored_specs(tmp_path)}
    assert set(names) == {"efficientnet_lite0", "efficientnet_lite0@view1"}
    for name, spec in names.items():
        again = sources.reopen(spec, tmp_path)
        assert again.spec == spec
        assert json.loads((tmp_path / spec.slug / "origin.json").read_text())["name"] == name
