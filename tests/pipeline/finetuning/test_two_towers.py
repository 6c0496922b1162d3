"""Two encoders are tuned together with a fusion head, where a post may lack its image or its text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tunable_posts import posts, small_bert, small_vit

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.sources import EncoderRequest
from msa.features.encoders.tuned import read_record
from msa.features.encoders.zoo import open_encoder
from msa.features.extraction.extract import extract
from msa.features.posts.samples import Corpus
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.tune_config import TuneConfig
from msa.pipeline.data.cached_features import find_spec, load_features
from msa.pipeline.data.join import join_posts
from msa.pipeline.data.leaks import refuse_leaks
from msa.pipeline.data.split import load_or_make_folds
from msa.pipeline.finetuning.finetune import finetune
from msa.pipeline.finetuning.inputs import PostInputs
from msa.pipeline.finetuning.model import TunedModel
from msa.pipeline.finetuning.request import TuneRequest

LOCAL = EncoderOptions(local_files_only=True)
QUICK = TuneConfig(epochs=2, batch_size=8, lr=1e-3)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("models")
    return str(small_vit(folder / "small-vit")), str(small_bert(folder / "small-bert"))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "posts").mkdir()
    return posts(tmp_path / "posts", 40)


def ask(models: tuple[str, str], cache: Path, fusion: str = "concat", **options: Any) -> TuneRequest:
    head = HeadConfig(fusion, hidden=16, options=options.pop("of_head", {}))
    request = EncoderRequest(models[:1], models[1:], LOCAL)
    return TuneRequest(request, options.pop("config", QUICK), head, cache=cache, device="cpu", **options)


@pytest.mark.parametrize("fusion", ["concat", "late", "attention", "fourway"])
def test_both_encoders_learn_and_open_again(
    tmp_path: Path, corpus: Corpus, models: tuple[str, str], fusion: str
) -> None:
    result = finetune(corpus, ask(models, tmp_path / "cache", fusion), tmp_path / "tuned")
    folders = result.folds[0].folders
    assert [folders["image"].name, folders["text"].name] == ["tuned-image", "tuned-text"]
    assert read_record(folders["image"]).trained == read_record(folders["text"]).trained
    for name, modality, item in (
        (models[0], "image", torch.zeros(3, 40, 40, dtype=torch.uint8)),
        (models[1], "text", "w1 w2"),
    ):
        pooled = []
        for encoder in (open_encoder(one, modality, LOCAL).load(Runtime()) for one in (name, str(folders[modality]))):  # type: ignore[arg-type]
            pooled.append(encoder.encode([encoder.preprocess(item)])[0].pooled[0])
        assert np.abs(pooled[0] - pooled[1]).max() > 1e-4
    assert "msa extract --image" in result.to_text()


def test_a_post_counts_with_what_it_has(tmp_path: Path, corpus: Corpus, models: tuple[str, str]) -> None:
    """A missing or unreadable modality is the head's null vector: its encoder is not run, and changes nothing."""
    assert corpus.samples[0].image is not None
    corpus.samples[0].image.write_bytes(b"no image")
    contents, _ = join_posts(corpus)
    encoders: Any = {
        modality: open_encoder(name, modality, LOCAL).load(Runtime())
        for modality, name in (("image", models[0]), ("text", models[1]))
    }
    rows = PostInputs(corpus, contents, encoders)
    assert set(rows.prepare(0)) == {"text"}
    assert set(rows.prepare(1)) == {"image", "text"}
    assert set(rows.prepare(4)) == {"image"}
    assert set(rows.prepare(6)) == {"text"}
    assert rows.unreadable == {(0, "image")}
    model = TunedModel(encoders, 2, HeadConfig("attention", hidden=16), seed=0).eval()
    together = model(rows._collate([(row, rows.prepare(row)) for row in (1, 4, 6, 2)]))[1]
    alone = torch.cat([model(rows._collate([(row, rows.prepare(row))]))[1] for row in (1, 4, 6, 2)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    inputs = model.encode(rows._collate([(row, rows.prepare(row)) for row in (1, 4, 6)]))
    assert inputs.image_mask.any(1).tolist() == [True, True, False]
    assert inputs.text_mask.any(1).tolist() == [True, False, True]
    result = finetune(corpus, ask(models, tmp_path / "cache"), tmp_path / "tuned")
    (fold,) = load_or_make_folds(join_posts(corpus)[1], tmp_path / "cache" / "splits", folds=None, seed=0)
    training = result.folds[0].training
    assert training["rows"] + training["valid_rows"] == len(set(fold.rest) - {34})  # which has neither
    assert training["unreadable"] <= 1


def test_each_fold_has_its_own_encoders(tmp_path: Path, corpus: Corpus, models: tuple[str, str]) -> None:
    cache, out = tmp_path / "cache", tmp_path / "tuned"
    finetune(corpus, ask(models, cache, folds=3, config=replace(QUICK, epochs=1)), out)
    names = sorted(f"tuned-{modality}-fold{fold}" for modality in ("image", "text") for fold in range(3))
    assert sorted(folder.name for folder in out.iterdir()) == names
    images, texts = ([str(out / name) for name in names if modality in name] for modality in ("image", "text"))
    extract(corpus, EncoderRequest(tuple(images), tuple(texts), LOCAL), cache)
    for fold in range(3):
        specs = [find_spec(cache, images[fold], "image")], [find_spec(cache, texts[fold], "text")]
        table = load_features(corpus, cache, image=specs[0], text=specs[1], tokens=False)
        folds = load_or_make_folds(table.posts, cache / "splits", folds=3, seed=0)
        refuse_leaks(table, [folds[fold]])
        with pytest.raises(ValueError, match="and has seen"):
            refuse_leaks(table, [folds[fold - 1]])


def test_what_does_not_go_together_is_refused(tmp_path: Path, corpus: Corpus, models: tuple[str, str]) -> None:
    cases = {
        "text": "fusion 'text' reads one modality; tune that encoder alone",
        "kernel": "fusion 'kernel' is fitted to fixed features",
        "estimator:sklearn.svm.SVC": "is fitted to fixed features",
        "no-head": "unknown fusion head",
    }
    for fusion, message in cases.items():
        with pytest.raises(ValueError, match=message):
            finetune(corpus, ask(models, tmp_path / "cache", fusion), tmp_path / "tuned")
    with pytest.raises(ValueError, match="has no option 'layers'"):
        finetune(corpus, ask(models, tmp_path / "cache", "gated", of_head={"layers": 1}), tmp_path / "tuned")
    both = EncoderRequest(models[:1], models[1:], LOCAL)
    with pytest.raises(ValueError, match="tuned with a fusion head; add one, as --fusion concat"):
        TuneRequest(both)
    with pytest.raises(ValueError, match="--fusion gated joins an image and a text encoder; give both"):
        TuneRequest(replace(both, image=()), head=HeadConfig("gated"))
    with pytest.raises(ValueError, match="one encoder of a modality is tuned at a time"):
        TuneRequest(replace(both, image=(models[0], "vgg16")), head=HeadConfig("gated"))
    assert not (tmp_path / "tuned").exists()
