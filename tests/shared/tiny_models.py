"""A tiny BERT with random weights, as save_pretrained writes it."""

from __future__ import annotations

from pathlib import Path

import torch

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "a", "lovely", "day"]


def write_bert(folder: Path) -> Path:
    """Write config, weights and tokenizer to a folder."""
    import transformers as hf

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    hf.BertModel(hf.BertConfig(**small, vocab_size=len(WORDS), max_position_embeddings=40)).save_pretrained(folder)
    vocabulary = folder.parent / "words.txt"
    vocabulary.write_text("\n".join(WORDS))
    hf.BertTokenizer(vocab=str(vocabulary)).save_pretrained(folder)
    return folder


def write_repository(folder: Path) -> Path:
    """The same as a hub has it: with weights for another engine, which nobody here wants."""
    write_bert(folder)
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"not wanted")
    return folder
