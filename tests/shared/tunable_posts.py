"""Small models with random weights, and posts of random words and noisy pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers as hf
from PIL import Image

from msa.features.posts.samples import Corpus, Sample

WORDS = [f"w{number}" for number in range(40)]


def small_bert(folder: Path, *, layers: int = 3) -> Path:
    """A small BERT with random weights, and its tokenizer."""
    torch.manual_seed(0)
    width = {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 64}
    hf.BertModel(hf.BertConfig(vocab_size=45, max_position_embeddings=32, **width)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    hf.BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def small_vit(folder: Path) -> Path:
    """A small ViT with random weights, for pictures of 32 by 32 pixels."""
    torch.manual_seed(0)
    width = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    hf.ViTModel(hf.ViTConfig(image_size=32, patch_size=16, **width)).save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def posts(folder: Path, count: int = 48) -> Corpus:
    """Posts of a text and a picture that both show the label; one in five has no text, one in seven no picture."""
    draw, samples = np.random.default_rng(0), []
    for number in range(count):
        label = "ab"[number % 2]
        text = " ".join([{"a": "w0", "b": "w1"}[label], *draw.choice(WORDS[2:], 4, replace=False)])
        shade = draw.integers(0, 90, (40, 36, 3)) + 150 * (label == "a")
        Image.fromarray(shade.astype(np.uint8)).save(folder / f"{number}.png")
        image = None if number % 7 == 6 else folder / f"{number}.png"
        samples.append(Sample(f"p{number}", image, None if number % 5 == 4 else text, label))
    return Corpus(folder, "table", samples)
