"""A tiny model with random weights for each family of Hugging Face that is supported, and folders that hold one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf

PIECES = ["what", "a", "lovely", "day", "this", "is", "not", ",", "really", "!", "##s"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
WORDY = SMALL | {"vocab_size": len(WORDS), "max_position_embeddings": 40, "pad_token_id": 0, "eos_token_id": 3}
GROUPED = {"num_key_value_heads": 1, "head_dim": 8}  # as decoders have their attention
PATCHY = SMALL | {"image_size": 32, "patch_size": 8}
SIDE = {"height": 32, "width": 32}

TEXT_CONFIGS: dict[str, Any] = {
    "albert": hf.AlbertConfig(**WORDY, embedding_size=8),
    "bert": hf.BertConfig(**WORDY),
    "camembert": hf.CamembertConfig(**WORDY),
    "chinese_clip": hf.ChineseCLIPConfig(text_config=WORDY, vision_config=PATCHY),
    "clip": hf.CLIPConfig(text_config=WORDY, vision_config=PATCHY),
    "clip_text_model": hf.CLIPTextConfig(**WORDY),
    "deberta-v2": hf.DebertaV2Config(**WORDY),
    "distilbert": hf.DistilBertConfig(vocab_size=16, dim=16, n_layers=2, n_heads=2, hidden_dim=32, pad_token_id=0),
    "electra": hf.ElectraConfig(**WORDY, embedding_size=8),
    "ernie": hf.ErnieConfig(**WORDY),
    "gemma3_text": hf.Gemma3TextConfig(**WORDY, **GROUPED, use_bidirectional_attention=True, sliding_window=512),
    "gpt2": hf.GPT2Config(vocab_size=16, n_positions=40, n_embd=16, n_layer=2, n_head=2, eos_token_id=3),
    "modernbert": hf.ModernBertConfig(**WORDY, global_attn_every_n_layers=2),
    "mpnet": hf.MPNetConfig(**WORDY),
    "qwen3": hf.Qwen3Config(**WORDY, **GROUPED),
    "roberta": hf.RobertaConfig(**WORDY),
    "siglip": hf.SiglipConfig(text_config=WORDY, vision_config=PATCHY),
    "siglip2": hf.Siglip2Config(text_config=WORDY, vision_config=SMALL | {"num_patches": 16}),
    "xlm-roberta": hf.XLMRobertaConfig(**WORDY),
}
STAGED = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "image_size": 32, "patch_size": 4}
IMAGE_CONFIGS: dict[str, Any] = {
    "beit": hf.BeitConfig(**PATCHY),
    "chinese_clip": TEXT_CONFIGS["chinese_clip"],
    "clip": TEXT_CONFIGS["clip"],
    "clip_vision_model": hf.CLIPVisionConfig(**PATCHY),
    "convnext": hf.ConvNextConfig(hidden_sizes=[4, 8, 12, 16], depths=[1, 1, 1, 1], image_size=32),
    "convnextv2": hf.ConvNextV2Config(hidden_sizes=[4, 8, 12, 16], depths=[1, 1, 1, 1], image_size=32),
    "deit": hf.DeiTConfig(**PATCHY),
    "dinov2": hf.Dinov2Config(**PATCHY),
    "dinov2_with_registers": hf.Dinov2WithRegistersConfig(**PATCHY),
    "dinov3_vit": hf.DINOv3ViTConfig(**PATCHY, num_register_tokens=4),
    "resnet": hf.ResNetConfig(embedding_size=4, hidden_sizes=[4, 8, 12, 16], depths=[1, 1, 1, 1]),
    "siglip": TEXT_CONFIGS["siglip"],
    "siglip_vision_model": hf.SiglipVisionConfig(**PATCHY),
    "swin": hf.SwinConfig(**STAGED),
    "vit": hf.ViTConfig(**PATCHY),
}
TYPED = {"albert", "bert", "chinese_clip", "deberta-v2", "electra", "ernie"}  # their tokenizers give token types


def build(config: Any) -> Any:
    """A model with fixed random weights."""
    torch.manual_seed(0)
    return hf.AutoModel.from_config(config).eval()


def write(folder: Path, model: Any, *, side: dict[str, int] = SIDE) -> Path:
    """A folder as save_pretrained leaves it: config, weights, tokenizer, image processor."""
    model.save_pretrained(folder)
    vocabulary = folder.parent / "words.txt"
    vocabulary.write_text("\n".join(WORDS))
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (model.config.model_type in TYPED)
    hf.BertTokenizer(vocab=str(vocabulary), model_input_names=names, padding_side="right").save_pretrained(folder)
    hf.ViTImageProcessor(size=side).save_pretrained(folder)
    return folder
