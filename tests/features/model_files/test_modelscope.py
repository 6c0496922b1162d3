"""`modelscope:ID`: the same encoder as the hub's where the files are the same; no token for other hosts."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_stub import HubStub, served, use_endpoint
from tiny_models import write_repository

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.sources import EncoderRequest, open_sources, reopen
from msa.features.encoders.zoo import open_encoder
from msa.features.model_files.modelscope import is_modelscope
from msa.features.posts.samples import Corpus, Sample

pytest.importorskip("modelscope", reason="the extra `modelscope` is not installed")

REPO = "someone/tiny-bert"
NAME = f"modelscope:{REPO}"
LOCAL = EncoderOptions(local_files_only=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture
def hub(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Another host than ModelScope's that serves the model, as both hubs do; the user has a token of each."""
    with served(REPO, model) as stub:
        use_endpoint(monkeypatch, stub.address, tmp_path)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", stub.address)
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))
        monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "settings"))
        monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-secret")
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        config = importlib.import_module("modelscope_hub.config")
        config.set_default_config(config.HubConfig())  # the client keeps what it has read once
        yield stub


def embed(name: str, options: EncoderOptions = EncoderOptions()) -> Any:
    encoder = open_encoder(name, "text", options).load(Runtime())
    return encoder.encode([encoder.preprocess(text) for text in ("a lovely day", "what")])[0].pooled


def test_the_same_files_are_the_same_encoder_wherever_they_come_from(hub: HubStub, model: Path) -> None:
    assert open_encoder(NAME, "text").spec == open_encoder(REPO, "text").spec
    np.testing.assert_array_equal(embed(NAME), embed(str(model)))
    assert "onnx" not in str(hub.asked)


def test_without_a_network_the_downloaded_model_opens(
    hub: HubStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="is not in ModelScope's cache; run once without --local-files-only"):
        open_encoder(NAME, "text", LOCAL)
    vectors = embed(NAME)
    hub.asked.clear()
    np.testing.assert_array_equal(embed(NAME, LOCAL), vectors)
    corpus = Corpus(tmp_path, "table", [Sample("1", None, "a day")])
    (source,) = open_sources(EncoderRequest((), (NAME,), LOCAL), corpus, tmp_path / "cache")
    assert reopen(source.spec, tmp_path / "cache", local_files_only=True).spec == source.spec
    assert hub.asked == []


def test_no_token_is_sent_to_another_host(hub: HubStub, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(NAME)
    assert len(hub.asked) > 4
    assert hub.secrets() == []
    monkeypatch.setattr("msa.features.model_files.modelscope.is_modelscope", lambda endpoint: True)
    open_encoder(NAME, "text")
    assert hub.secrets()
    assert "hf_secret" not in str(hub.asked)


def test_whose_host_is_modelscope() -> None:
    assert all(map(is_modelscope, ("https://modelscope.cn", "https://www.modelscope.ai/", "https://MODELSCOPE.cn:443")))
    others = ("https://modelscope.cn.evil.org", "https://notmodelscope.cn", "http://127.0.0.1:80", "", "modelscope.cn")
    assert not any(map(is_modelscope, (*others, "https://modelscope.cn@evil.org")))


def test_a_model_that_is_not_there_is_one_line(hub: HubStub) -> None:
    with pytest.raises(ValueError, match=f"was not downloaded from {hub.address}; check the name") as caught:
        open_encoder("modelscope:someone/else", "text")
    assert "\n" not in str(caught.value)


def test_a_model_of_sentence_transformers_comes_whole(hub: HubStub, model: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="the extra `st` is not installed")
    own = open_encoder(f"st:{NAME}", "text").spec
    assert own == open_encoder(f"st:{REPO}", "text").spec
    assert own.weights == open_encoder(f"st:{model}", "text").spec.weights


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda one, *rest: None if one == "modelscope" else find(one))
    with pytest.raises(ValueError, match=r"needs modelscope, which is missing: `pip install"):
        open_encoder(NAME, "text")
