"""One model, two engines: OpenVINO gives what torch gives, whatever the batch and the stream."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from msa.features.encoders.encoder import Encoded, EncoderOptions, Source
from msa.features.encoders.engine import CompiledTower, OpenVinoEngine, TorchEngine, open_tower_engine
from msa.features.encoders.families import FAMILIES
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.vision import build_torchvision
from msa.features.encoders.zoo import open_encoder
from msa.features.spec import Modality

pytest.importorskip("openvino")

FULL = EncoderOptions(dtype="float32")
VINO = Runtime(engine="openvino", streams=2)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "a", "lovely", "day", "this", "is", "not", "!", "##s"]
TEXTS = ["what a day", "", "this is not a lovely day , is this a lovely day ! " * 2, "lovely days !", "a day !"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
WORDY = SMALL | {"vocab_size": len(WORDS), "max_position_embeddings": 40, "pad_token_id": 0, "eos_token_id": 3}
PATCHY = SMALL | {"image_size": 32, "patch_size": 8}
NAMED = {"bos_token_id": 2, "cls_token_id": 2, "sep_token_id": 3}
DISTIL = {"vocab_size": len(WORDS), "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "pad_token_id": 0}
GPT = {"vocab_size": len(WORDS), "n_positions": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "eos_token_id": 3}
GROUPED = {"num_key_value_heads": 1, "head_dim": 8}
STAGED = {"hidden_sizes": [4, 8, 12, 16], "depths": [1, 1, 1, 1]}
SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "image_size": 32, "patch_size": 4}
MIXED = {
    "text_config": WORDY | {"bos_token_id": 2},
    "vision_config": PATCHY,
}
CONFIGS: dict[tuple[str, Modality], Any] = {
    ("albert", "text"): hf.AlbertConfig(**WORDY, embedding_size=8),
    ("bert", "text"): hf.BertConfig(**WORDY),
    ("camembert", "text"): hf.CamembertConfig(**WORDY),
    ("chinese_clip", "text"): hf.ChineseCLIPConfig(**MIXED),
    ("clip", "text"): hf.CLIPConfig(**MIXED),
    ("clip_text_model", "text"): hf.CLIPTextConfig(**WORDY, bos_token_id=2),
    ("deberta-v2", "text"): hf.DebertaV2Config(**WORDY, relative_attention=True, pos_att_type=["p2c", "c2p"]),
    ("distilbert", "text"): hf.DistilBertConfig(**DISTIL),
    ("electra", "text"): hf.ElectraConfig(**WORDY, embedding_size=8),
    ("ernie", "text"): hf.ErnieConfig(**WORDY),
    ("gemma3_text", "text"): hf.Gemma3TextConfig(**WORDY, **GROUPED, use_bidirectional_attention=True),
    ("gpt2", "text"): hf.GPT2Config(**GPT, bos_token_id=3),
    ("modernbert", "text"): hf.ModernBertConfig(**WORDY, **NAMED, global_attn_every_n_layers=2),
    ("mpnet", "text"): hf.MPNetConfig(**WORDY),
    ("qwen3", "text"): hf.Qwen3Config(**WORDY, **GROUPED),
    ("roberta", "text"): hf.RobertaConfig(**WORDY),
    ("siglip", "text"): hf.SiglipConfig(**MIXED),
    ("siglip2", "text"): hf.Siglip2Config(**MIXED | {"vision_config": SMALL | {"num_patches": 16}}),
    ("xlm-roberta", "text"): hf.XLMRobertaConfig(**WORDY),
    ("beit", "image"): hf.BeitConfig(**PATCHY),
    ("chinese_clip", "image"): hf.ChineseCLIPConfig(**MIXED),
    ("clip", "image"): hf.CLIPConfig(**MIXED),
    ("clip_vision_model", "image"): hf.CLIPVisionConfig(**PATCHY),
    ("convnext", "image"): hf.ConvNextConfig(**STAGED, image_size=32),
    ("convnextv2", "image"): hf.ConvNextV2Config(**STAGED, image_size=32),
    ("deit", "image"): hf.DeiTConfig(**PATCHY),
    ("dinov2", "image"): hf.Dinov2Config(**PATCHY),
    ("dinov2_with_registers", "image"): hf.Dinov2WithRegistersConfig(**PATCHY),
    ("dinov3_vit", "image"): hf.DINOv3ViTConfig(**PATCHY, num_register_tokens=4),
    ("resnet", "image"): hf.ResNetConfig(**STAGED, embedding_size=4),
    ("siglip", "image"): hf.SiglipConfig(**MIXED),
    ("siglip_vision_model", "image"): hf.SiglipVisionConfig(**PATCHY),
    ("swin", "image"): hf.SwinConfig(**SWIN),
    ("vit", "image"): hf.ViTConfig(**PATCHY),
}
ON_TORCH = {"gemma3_text"}  # OpenVINO cannot read it
SWIFT = {("bert", "text"), ("vit", "image")}
MODELS = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "inception_v3", "mobilenet_v2"),
    *("mobilenet_v3_small", "resnet50", "resnext50_32x4d", "swin_t", "swin_v2_t", "vgg16", "vit_b_16"),
    *("timm:inception_resnet_v2", "timm:legacy_xception", "timm:mobilenetv1_100", "timm:nasnetalarge"),
    *("timm:resnetv2_18", "timm:resnetv2_50", "timm:xception41", "timm:swin_tiny_patch4_window7_224"),
    *("timm:test_convnext", "timm:vit_base_patch16_224"),
)


def images(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes]


def assert_near(got: Sequence[Encoded], expected: Sequence[Encoded]) -> None:
    """Cosine at least 0.9999, and values equal to 1e-4 of the largest."""
    for ours, theirs in zip(got, expected, strict=True):
        for a, b in zip([*ours.pooled, *ours.tokens], [*theirs.pooled, *theirs.tokens], strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, atol=1e-4 * float(np.abs(b).max()))
            lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
            assert ((a * b).sum(-1) >= 0.9999 * lengths).all()


def compare(source: Source, items: Sequence[Any]) -> Any:
    """Load by each engine, in the order that meets other shapes than the first; return the encoder of OpenVINO."""
    torch_one, vino = source.load(Runtime()), source.load(VINO)
    prepared = [torch_one.preprocess(item) for item in items]
    for batch in (prepared, prepared[::-1], prepared[1:2]):
        assert_near(vino.encode(batch), torch_one.encode(batch))
    return vino


def test_every_family_is_compared() -> None:
    assert set(CONFIGS) == set(FAMILIES)


@pytest.mark.parametrize(
    ("kind", "modality"), [pytest.param(*pair, marks=() if pair in SWIFT else pytest.mark.slow) for pair in CONFIGS]
)
def test_families_agree(tmp_path: Path, kind: str, modality: Modality) -> None:
    """Three layers in every pooling, and the last in the model's own, by OpenVINO as by torch."""
    torch.manual_seed(0)
    folder = tmp_path / "model"
    model = hf.AutoModel.from_config(CONFIGS[kind, modality])
    with torch.no_grad():
        for parameter in model.parameters():  # what starts as zero would hide what is lost
            parameter += 0.02 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (kind in ("albert", "bert", "deberta-v2"))
    hf.BertTokenizer(vocab=str(tmp_path / "words.txt"), model_input_names=names).save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    items = TEXTS if modality == "text" else images((50, 64), (32, 32), (3, 40))
    pools = tuple(pool for pool in FAMILIES[kind, modality].pools if pool != "pooler")
    asked = [replace(FULL, layers=(-1, -2, -3), pools=pools)]
    if "pooler" in FAMILIES[kind, modality].pools and (kind, modality) not in SWIFT:
        asked.append(replace(FULL, pools=("pooler",)))
    for options in asked:
        vino = compare(open_encoder(str(folder), modality, options), items)
        assert isinstance(vino.engine.run, TorchEngine if kind in ON_TORCH else CompiledTower)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_image_models_agree(tmp_path: Path, name: str) -> None:
    import timm

    torch.manual_seed(0)
    model = timm.create_model(name[5:]) if name.startswith("timm:") else build_torchvision(name)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    options = replace(FULL, weights=tmp_path / "w.pth", layers=(-1, -2), pools=("mean", "max"))
    vino = compare(open_encoder(name, "image", options), images((300, 400), (256, 199)))
    assert isinstance(vino.engine.run, CompiledTower)


@pytest.mark.parametrize(
    ("name", "modality"), [pytest.param("efficientnet_lite0", "image", marks=pytest.mark.slow), ("minilm", "text")]
)
def test_numbers_do_not_depend_on_streams_or_batches(name: str, modality: Modality) -> None:
    """Bit by bit: alone, in a batch, in another order, by another number of streams, by several threads at once."""
    items: list[Any] = [*TEXTS, "good morning", "good"] if modality == "text" else images((60, 80), (90, 50), (40, 40))
    options = replace(FULL, layers=(-1, -2), pools=("mean", "max"))
    source = open_encoder(name, modality, options)
    one, two = source.load(Runtime(engine="openvino", streams=1)), source.load(VINO)
    prepared = [one.preprocess(item) for item in items]
    alone = [one.encode([item]) for item in prepared]

    def same(results: Sequence[Encoded], rows: Sequence[int]) -> None:
        for index, result in enumerate(results):
            for at, row in enumerate(rows):
                np.testing.assert_array_equal(result.pooled[at], alone[row][index].pooled[0])
                np.testing.assert_array_equal(result.tokens[at], alone[row][index].tokens[0])

    everyone = list(range(len(items)))
    orders = [everyone, everyone[::-1], everyone[1:], [*everyone, *everyone], everyone[:1], everyone]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda rows: two.encode([prepared[row] for row in rows]), orders))
    for rows, results in zip(orders, together, strict=True):
        same(results, rows)
    same(one.encode(prepared), everyone)


class Odd(nn.Module):
    """A tower that a tracer reads wrongly: it takes the length of the first text for that of every text."""

    def forward(self, ids: Tensor, kinds: Tensor | None = None, mask: Tensor | None = None) -> list[Tensor]:
        return [ids.float().unsqueeze(-1) * int(ids.shape[1])]


class Foreign(nn.Module):
    """A tower that holds an operation without a translation."""

    def forward(self, ids: Tensor) -> list[Tensor]:
        return [torch.linalg.matrix_exp(ids.float()[..., None, None] * torch.eye(2)).mean((-1, -2))]


@pytest.mark.parametrize(
    ("tower", "reason"), [(Odd(), "other numbers than torch"), (Foreign(), "OpenVINO cannot read it: .*matrix_exp")]
)
def test_what_openvino_misreads_runs_on_torch(tower: nn.Module, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = open_tower_engine(tower, VINO, half=False)
    assert isinstance(engine, OpenVinoEngine)
    for width in (8, 5):
        ids = torch.arange(2 * width).view(2, width) % 3
        np.testing.assert_allclose(engine(ids)[0].numpy(), tower(ids)[0].numpy(), rtol=1e-6)
    assert isinstance(engine.run, TorchEngine)
    (message,) = caplog.messages
    assert re.match(f"{type(tower).__name__} runs on torch: .*{reason}", message)


class Masked(nn.Module):
    """A tower that knows no kinds of tokens but heeds the mask."""

    def forward(self, ids: Tensor, kinds: Tensor | None = None, mask: Tensor | None = None) -> list[Tensor]:
        assert kinds is None
        assert mask is not None
        return [(ids * mask).float().unsqueeze(-1)]


def test_an_absent_input_stays_absent() -> None:
    engine = open_tower_engine(Masked(), VINO, half=False)
    assert isinstance(engine, OpenVinoEngine)
    ids, mask = torch.tensor([[4, 5, 6, 7]]), torch.tensor([[True, True, False, False]])
    assert engine(ids, None, mask)[0].flatten().tolist() == [4.0, 5.0, 0.0, 0.0]
    assert isinstance(engine.run, CompiledTower)


ALONE = """
import sys, torch
from msa.features.encoders.engine import CompiledTower, OpenVinoEngine
from msa.features.encoders.runtime import Runtime
class Double(torch.nn.Module):
    def forward(self, given):
        return [given.float() * 2]
engine = OpenVinoEngine(Double(), Runtime(engine="openvino"))
assert engine(torch.ones(1, 4))[0].tolist() == [[2.0] * 4]
assert isinstance(engine.run, CompiledTower)
assert not getattr(sys.modules["openvino_telemetry"], "__file__", None)
"""


def test_openvino_reports_to_nobody(tmp_path: Path) -> None:
    """Its telemetry would keep an identity in the home folder and send what it converts to a server."""
    subprocess.run([sys.executable, "-c", ALONE], check=True, env=os.environ | {"HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_compiled_by_torch_gives_the_same() -> None:
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("torch.compile needs a C compiler, and there is none here")
    for name, modality, items in (
        ("minilm", "text", TEXTS),
        ("efficientnet_lite0", "image", images((60, 80), (90, 50))),
    ):
        source = open_encoder(name, modality, replace(FULL, layers=(-1, -2)))  # type: ignore[arg-type]
        plain, compiled = source.load(Runtime()), source.load(Runtime(compile=True, streams=2))
        prepared = [plain.preprocess(item) for item in items]  # type: ignore[attr-defined]
        for batch in (prepared, prepared[:1]):
            assert_near(compiled.encode(batch), plain.encode(batch))
