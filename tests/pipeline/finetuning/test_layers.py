"""The last blocks of an encoder, and adapters that are merged into its weights, for every source of encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers as hf

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.vision import build_torchvision
from msa.features.encoders.zoo import open_encoder
from msa.features.spec import Modality
from msa.pipeline.finetuning.layers import add_adapters, freeze_all_but
from msa.pipeline.finetuning.tune import set_mode

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "a", "lovely", "day"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
WORDY = SMALL | {"vocab_size": 9, "max_position_embeddings": 40, "pad_token_id": 0, "eos_token_id": 3}
PATCHY = SMALL | {"image_size": 32, "patch_size": 8}
GPT = {
    "vocab_size": 9,
    "n_positions": 40,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "eos_token_id": 3,
    "bos_token_id": 3,
}
STAGED: dict[str, Any] = {"hidden_sizes": [4, 8, 12, 16], "depths": [1, 1, 1, 1]}
FAMILIES: dict[str, tuple[Modality, Any, int, str]] = {  # the config, how many blocks, and how the last one begins
    "bert": ("text", hf.BertConfig(**WORDY), 2, "encoder.layer.1.attention.self.query.weight"),
    "albert": ("text", hf.AlbertConfig(**WORDY, embedding_size=8), 1, "encoder.albert_layer_groups.0"),
    "deberta": ("text", hf.DebertaV2Config(**WORDY, relative_attention=True), 2, "encoder.layer.1.attention"),
    "gpt2": ("text", hf.GPT2Config(**GPT), 2, "h.1.ln_1.weight"),
    "modernbert": ("text", hf.ModernBertConfig(**WORDY, bos_token_id=2, cls_token_id=2), 2, "layers.1.attn_norm"),
    "siglip": ("image", hf.SiglipVisionConfig(**PATCHY), 2, "encoder.layers.1.layer_norm1.weight"),
    "vit": ("image", hf.ViTConfig(**PATCHY), 2, "layers.1.attention"),
    "resnet": ("image", hf.ResNetConfig(**STAGED, embedding_size=4), 4, "encoder.stages.3"),
    "convnext": ("image", hf.ConvNextConfig(**STAGED, image_size=32), 4, "encoder.stages.3"),
}
MODELS = {
    "timm:test_efficientnet": (None, "blocks."),
    "timm:test_vit": (None, "blocks."),
    "resnet18": (4, "layer4.0.conv1.weight"),
    "swin_t": (4, "features.7.0"),
    "vit_b_32": (12, "encoder.layers.encoder_layer_11"),
    "densenet121": (4, "features.denseblock4"),
    "vgg11": (8, "features.18.weight"),
}
SLOW = ("resnet18", "swin_t", "vit_b_32", "densenet121", "vgg11")


def save_family(folder: Path, kind: str) -> tuple[Modality, EncoderOptions]:
    """A folder with random weights, and a tokenizer or an image processor."""
    modality, config, *_ = FAMILIES[kind]
    hf.AutoModel.from_config(config).save_pretrained(folder)
    (folder / "words.txt").write_text("\n".join(WORDS))
    hf.BertTokenizer(vocab=str(folder / "words.txt"), model_input_names=["input_ids"]).save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return modality, EncoderOptions()


def save_image_model(file: Path, name: str) -> EncoderOptions:
    """A file with random weights of torchvision or timm."""
    model = timm.create_model(name[5:]) if name.startswith("timm:") else build_torchvision(name)
    torch.save(model.state_dict(), file)
    return EncoderOptions(weights=file)


def load(name: str, modality: Modality, options: EncoderOptions) -> tuple[Any, Any]:
    """The encoder, and its input of one item."""
    encoder: Any = open_encoder(name, modality, options).load(Runtime())
    item = "what a day" if modality == "text" else torch.arange(3 * 40 * 50).reshape(3, 40, 50).to(torch.uint8)
    return encoder, encoder.collate([encoder.preprocess(item)])


def check(name: str, modality: Modality, options: EncoderOptions, blocks: int | None, begins: str) -> None:
    """The last block and what follows it are trained; adapters learn, and the merged model computes what they did."""
    encoder, _ = load(name, modality, options)
    names = [key for key, _ in encoder.tower.backbone.model.named_parameters()]
    freeze_all_but(encoder, None)
    assert all(weight.requires_grad for weight in encoder.tower.parameters())
    freeze_all_but(encoder, 1)
    opened = [key for key, weight in encoder.tower.backbone.model.named_parameters() if weight.requires_grad]
    assert opened[0].startswith(begins)
    assert blocks == 1 or len(opened) < len(names)
    assert not any("embed" in key or "wte" in key for key in opened)
    if blocks:
        with pytest.raises(ValueError, match=rf"has {blocks} block.*got --layers last:{blocks + 1}"):
            freeze_all_but(encoder, blocks + 1)
    for last in (None, 1):
        encoder, sample = load(name, modality, options)
        model, tower = encoder.tower.backbone.model, encoder.tower
        freeze_all_but(encoder, last)
        before, keys = tower(*sample)[-1].detach(), set(model.state_dict())
        merge = add_adapters(encoder, 2, sample)
        learnt = [key for key, weight in model.named_parameters() if weight.requires_grad]
        assert all("lora_" in key for key in learnt)
        beside = [key.partition(".lora_")[0].replace(".base_layer", "") for key in learnt]
        assert last is None or all(key in " ".join(opened) for key in beside)
        torch.testing.assert_close(tower(*sample)[-1], before, rtol=1e-4, atol=1e-4)
        set_mode(tower, True)
        tower(*sample)[-1].square().sum().backward()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.grad is not None:
                    weight.add_(0.02 * torch.randn_like(weight))
        tower.eval()
        adapted = tower(*sample)[-1].detach()
        merge()
        torch.testing.assert_close(
            tower(*sample)[-1].detach(), adapted, rtol=1e-3, atol=1e-3 * float(adapted.abs().max())
        )
        assert set(model.state_dict()) == keys
        assert not torch.allclose(adapted, before, atol=1e-5)


@pytest.mark.parametrize("kind", FAMILIES)
def test_transformers_models(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    modality, options = save_family(tmp_path / "model", kind)
    check(str(tmp_path / "model"), modality, options, *FAMILIES[kind][2:])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in MODELS]
)
def test_image_models(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    check(name, "image", save_image_model(tmp_path / "w.pth", name), *MODELS[name])


def test_a_model_whose_maps_take_no_adapter_is_refused(tmp_path: Path) -> None:
    """Weights that are standardised in the forward pass: an adapter could not be merged into them."""
    options = save_image_model(tmp_path / "w.pth", "timm:resnetv2_50x1_bit")
    encoder, sample = load("timm:resnetv2_50x1_bit", "image", options)
    freeze_all_but(encoder, 1)
    with pytest.raises(ValueError, match="has no linear map that takes an adapter; leave out --lora"):
        add_adapters(encoder, 2, sample)
