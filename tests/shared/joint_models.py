"""A tiny Qwen3-VL with random weights as a model of Sentence Transformers: it takes an image and a text together."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers as hf

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
WORDS = [*MARKS, "<|video_pad|>", "<unk>", "user", "system", "what", "a", "lovely", "day", "this", "is", "not", "!"]
ITEM = "<|vision_start|><|image_pad|><|vision_end|>"
TEMPLATE = (
    "{% for one in messages %}<|im_start|>{{ one['role'] }} {% for part in one['content'] %}"
    "{% if part['type'] == 'image' %}" + ITEM + "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>{% endfor %}"
)
SMALL = {"hidden_size": 16, "intermediate_size": 32}
TEXT = SMALL | {
    "vocab_size": len(WORDS),
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10_000.0},
}
VISION = SMALL | {
    "depth": 2,
    "num_heads": 2,
    "patch_size": 8,
    "out_hidden_size": 16,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0],
}


def write_joint(folder: Path, **settings: Any) -> Any:
    """Write the model to a folder, as the package saves it, and return it as the package loads it."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    library = importlib.import_module("sentence_transformers")
    modules = importlib.import_module("sentence_transformers.sentence_transformer.modules")
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.add_special_tokens(WORDS[:8])
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token=MARKS[0], eos_token=MARKS[2]
    )
    images = hf.Qwen2VLImageProcessor(min_pixels=32 * 32, max_pixels=64 * 64, patch_size=8, merge_size=2)
    videos = hf.Qwen3VLVideoProcessor(patch_size=8)
    ids = {f"{name}_token_id": WORDS.index(f"<|{name}_pad|>") for name in ("image", "video")}
    ids |= {f"vision_{name}_token_id": WORDS.index(f"<|vision_{name}|>") for name in ("start", "end")}
    torch.manual_seed(0)
    plain = folder.parent / f"{folder.name}-plain"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hf.Qwen3VLModel(hf.Qwen3VLConfig(text_config=TEXT, vision_config=VISION, **ids)).save_pretrained(plain)
        hf.Qwen3VLProcessor(images, tokenizer, videos, chat_template=TEMPLATE).save_pretrained(plain)
        parts = [modules.Transformer(str(plain)), modules.Pooling(16, "lasttoken"), modules.Normalize()]
        library.SentenceTransformer(modules=parts, device="cpu", **settings).save(str(folder), create_model_card=False)
        return library.SentenceTransformer(str(folder), device="cpu")
