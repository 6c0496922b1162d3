"""HF_ENDPOINT: models come from a mirror, a broken download continues, and no token is sent to another's host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_stub import HubStub, served, use_endpoint
from tiny_models import write_repository

from msa.cli import run_command
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.zoo import open_encoder
from msa.features.model_files.hub import MIRROR, is_mirror
from msa.features.model_files.weights import weights_id

REPO = "someone/tiny-bert"
WEIGHTS = "model.safetensors"
EXTRACT = ["extract", "posts.csv", "--image", "none", "--text", REPO, "--device", "cpu"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights, as save_pretrained writes it, and its weights for other engines."""
    return write_repository(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture
def hub(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A mirror that serves the model, to which the client points; the working directory has two posts."""
    monkeypatch.chdir(tmp_path)
    Path("posts.csv").write_text("id,text,label\n1,a lovely day,x\n2,what a day,y\n")
    with served(REPO, model) as stub:
        use_endpoint(monkeypatch, stub.address, tmp_path)
        yield stub


def embed(name: str, options: EncoderOptions = EncoderOptions()) -> Any:
    encoder = open_encoder(name, "text", options).load(Runtime())
    return encoder.encode([encoder.preprocess(text) for text in ("a lovely day", "what")])[0].pooled


def test_a_model_is_downloaded_once_and_then_opens_without_a_hub(
    hub: HubStub, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(EXTRACT) == 0, capsys.readouterr().err
    assert sorted(hub.fetched()) == sorted({*(file.name for file in model.iterdir() if file.is_file())})
    spec = open_encoder(REPO, "text").spec
    assert spec.weights == weights_id([model / WEIGHTS])
    hub.asked.clear()
    assert run_command([*EXTRACT, "--local-files-only", "--cache", "other"]) == 0, capsys.readouterr().err
    assert hub.asked == []
    assert open_encoder(REPO, "text", EncoderOptions(local_files_only=True)).spec.fingerprint == spec.fingerprint


def test_the_same_folder_has_the_same_vectors_and_its_spec_differs_by_name_alone(hub: HubStub, model: Path) -> None:
    np.testing.assert_array_equal(embed(REPO), embed(str(model)))
    there, here = (open_encoder(name, "text").spec for name in (REPO, str(model)))
    assert here == replace(there, name="tiny-bert")
    assert open_encoder(REPO, "text", EncoderOptions(weights=model / WEIGHTS)).spec == there


def test_a_model_of_sentence_transformers_comes_from_a_mirror(
    hub: HubStub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sentence_transformers", reason="the extra `st` is not installed")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    vectors = embed(f"st:{REPO}")
    np.testing.assert_array_equal(vectors, embed(f"st:{model}"))
    assert "onnx/model.onnx" not in str(hub.asked)
    assert "secret" not in str(hub.asked)
    hub.asked.clear()
    np.testing.assert_array_equal(vectors, embed(f"st:{REPO}", EncoderOptions(local_files_only=True)))
    assert hub.asked == []


def test_a_download_that_breaks_continues_where_it_stopped(
    hub: HubStub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.breaks[WEIGHTS] = 1
    expected = embed(str(model))
    np.testing.assert_array_equal(embed(REPO), expected)
    ranges = [headers.get("range") for method, path, headers in hub.asked if method == "GET" and path.endswith(WEIGHTS)]
    first, second = ranges
    assert first is None
    assert 0 < int(str(second).removeprefix("bytes=").removesuffix("-")) <= (model / WEIGHTS).stat().st_size // 2


def test_after_a_failed_download_the_same_command_fetches_what_is_missing(
    hub: HubStub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.breaks[WEIGHTS] = 100
    assert run_command(EXTRACT) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"was not downloaded from {hub.address}; check HF_ENDPOINT" in error
    hub.breaks.clear()
    hub.asked.clear()
    assert run_command(EXTRACT) == 0, capsys.readouterr().err
    assert hub.fetched() == [WEIGHTS]


@pytest.mark.parametrize("source", ["environment", "file"])
def test_no_token_is_sent_to_a_mirror(
    hub: HubStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    if source == "environment":
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
    else:
        monkeypatch.delenv("HF_TOKEN", raising=False)
        (tmp_path / "token").write_text("hf_secret")
    import huggingface_hub

    assert huggingface_hub.get_token() == "hf_secret"
    embed(REPO)
    from msa.features.model_files.hub import fetch_hub

    fetch_hub(REPO, "config.json", local_files_only=False)
    assert len(hub.asked) > 5
    assert [path for _, path, headers in hub.asked if "secret" in str(headers)] == []
    monkeypatch.setattr("msa.features.model_files.hub.is_mirror", lambda endpoint: False)
    hub.asked.clear()
    embed(REPO)
    assert all(headers["authorization"] == "Bearer hf_secret" for _, _, headers in hub.asked)


def test_whose_host_is_a_mirror() -> None:
    own = ("https://huggingface.co", "https://hub-ci.huggingface.co/", "https://HUGGINGFACE.CO:443")
    assert not any(map(is_mirror, own))
    others = (MIRROR, "https://huggingface.co.evil.org", "https://nothuggingface.co", "http://127.0.0.1:80", "", "x")
    assert all(map(is_mirror, (*others, "https://huggingface.co@evil.org")))


@pytest.mark.parametrize(
    ("refusal", "wanted"),
    [
        ((401, "RepoNotFound"), "shows no such model or file; check the name, or give a folder"),
        ((403, "GatedRepo"), "asks for a login; unset HF_ENDPOINT, as no token is sent to a mirror, accept its terms"),
        ((503, ""), "; check HF_ENDPOINT, which names this host, and the connection"),
    ],
)
def test_a_refusal_is_one_line_with_what_to_do(
    hub: HubStub, refusal: tuple[int, str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.refusal = refusal
    with pytest.raises(ValueError, match=f"{re.escape(hub.address)}.*{wanted}") as caught:
        open_encoder(REPO, "text")
    assert "\n" not in str(caught.value)


def test_a_hub_that_is_not_reached_is_named_with_the_way_to_a_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(REPO, tmp_path) as stub:
        closed = stub.address
    use_endpoint(monkeypatch, closed, tmp_path)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for name in (REPO, "timm:mobilenetv3_small_050"):
        with pytest.raises(ValueError, match=f"was not downloaded from {closed}; check HF_ENDPOINT"):
            embed(name) if name == REPO else open_encoder(name, "image").load(Runtime())
    with monkeypatch.context() as own:
        own.setattr("msa.features.model_files.hub.is_mirror", lambda endpoint: False)
        with pytest.raises(ValueError, match=f"check the connection, or take a mirror: `export HF_ENDPOINT={MIRROR}`"):
            open_encoder(REPO, "text")
    use_endpoint(monkeypatch, "hf-mirror.com", tmp_path)
    with pytest.raises(ValueError, match=r"was not downloaded from hf-mirror\.com; check HF_ENDPOINT"):
        open_encoder(REPO, "text")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="forbids to download it; unset HF_HUB_OFFLINE, or give a folder"):
        open_encoder(REPO, "text")


@pytest.mark.slow
def test_the_variable_itself_is_followed(hub: HubStub, tmp_path: Path) -> None:
    code = "import sys; from msa.cli import run_command; sys.exit(run_command(sys.argv[1:]))"
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_secret"}
    environment["HF_HUB_OFFLINE"] = "0"
    for more in ([], ["--local-files-only", "--cache", "other"]):
        command = [sys.executable, "-c", code, *EXTRACT, *more]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert (done.returncode, bool(hub.asked)) == (0, not more), done.stderr
        assert "secret" not in str(hub.asked)
        hub.asked.clear()
