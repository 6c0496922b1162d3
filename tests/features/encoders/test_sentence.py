"""Models whose folder holds more than transformers reads: sentence-transformers' pooling, BERTweet's tokenizer."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.zoo import open_encoder

PIECES = ["what", "a", "lovely", "day", "this", "is", "not", ",", "really", "!", "##s"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES]
TEXTS = ["what a day", "", "this is not really a lovely day", "lovely days !"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TINY = SMALL | {"vocab_size": len(WORDS), "max_position_embeddings": 40, "pad_token_id": 0, "eos_token_id": 3}
LOCAL = EncoderOptions(dtype="float32")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def build(model_class: Any = hf.BertModel, config: Any = None) -> Any:
    """A model with fixed random weights, a tiny BERT by default."""
    torch.manual_seed(0)
    return model_class(config or hf.BertConfig(**TINY)).eval()


def write(folder: Path, model: Any) -> Path:
    """A folder as save_pretrained leaves it: config, weights, tokenizer."""
    model.save_pretrained(folder)
    vocabulary = folder.parent / "words.txt"
    vocabulary.write_text("\n".join(WORDS))
    hf.BertTokenizer(vocab=str(vocabulary)).save_pretrained(folder)
    return folder


def embed(source: Any, texts: list[str] = TEXTS) -> Any:
    encoder = source.load(Runtime())
    return encoder.encode([encoder.preprocess(text) for text in texts])[0]


def in_hub_cache(tmp_path: Path, name: str, model: Any, revision: str = "b" * 40) -> Path:
    repo = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(revision)
    return write(repo / "snapshots" / revision, model)


def pooling(folder: Path, settings: dict[str, Any]) -> Path:
    """What sentence-transformers adds to a folder."""
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


OLD = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False}


@pytest.mark.parametrize(
    ("settings", "pool"),
    [
        (OLD | {"pooling_mode_cls_token": True}, "cls"),
        (OLD | {"pooling_mode_cls_token": False, "pooling_mode_max_tokens": True}, "max"),
        (OLD | {"pooling_mode_lasttoken": True}, "last"),
        ({"embedding_dimension": 16, "pooling_mode": "cls"}, "cls"),
        ({"embedding_dimension": 16, "pooling_mode": ["lasttoken"]}, "last"),
    ],
)
def test_pooling_of_sentence_transformers_is_the_models_own(
    tmp_path: Path, settings: dict[str, Any], pool: str
) -> None:
    folder = write(tmp_path / "model", build())
    mean = open_encoder(str(folder), "text", LOCAL).spec
    source = open_encoder(str(pooling(folder, settings)), "text", LOCAL)
    assert source.spec == replace(mean, pool=pool)
    encoded = embed(source)
    for vector, tokens in zip(encoded.pooled, encoded.tokens, strict=True):
        expected = {"cls": tokens[0], "max": tokens.max(0), "last": tokens[-1]}[pool]
        np.testing.assert_allclose(vector, expected, atol=1e-6)
    assert open_encoder(f"{folder}@mean", "text", LOCAL).spec == replace(mean, name="model@mean")


def test_pooling_of_sentence_transformers_that_is_mean_changes_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", build())
    plain = open_encoder(str(folder), "text").spec
    assert open_encoder(str(pooling(folder, OLD | {"pooling_mode_mean_tokens": True})), "text").spec == plain


@pytest.mark.parametrize("mode", ["weightedmean", ["mean", "max"]])
def test_pooling_that_does_not_exist_here_must_be_chosen(tmp_path: Path, mode: Any) -> None:
    folder = str(pooling(write(tmp_path / "model", build()), {"pooling_mode": mode}))
    with pytest.raises(ValueError, match=r"pools by '.*mean.*', which does not exist here; choose --pool mean or cls"):
        open_encoder(folder, "text")
    assert open_encoder(f"{folder}@max", "text").spec.name == "model@max"


def test_pooling_in_the_hub_cache(tmp_path: Path) -> None:
    local = replace(LOCAL, local_files_only=True)
    snapshot = in_hub_cache(tmp_path, "sentence-transformers/all-mpnet-base-v2", build())
    pooling(snapshot, {"pooling_mode": "cls"})
    assert open_encoder("all-mpnet-base-v2", "text", local).spec.pool == "cls"
    shutil.rmtree(snapshot / "1_Pooling")
    with pytest.raises(ValueError, match=r"1_Pooling/config\.json"):
        open_encoder("all-mpnet-base-v2", "text", local)


def test_folder_of_sentence_transformers_itself(tmp_path: Path) -> None:
    """What the library writes, and what it then embeds, for a pooling other than the family's."""
    library = pytest.importorskip("sentence_transformers")
    folder = write(tmp_path / "plain", build())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modules = importlib.import_module("sentence_transformers.sentence_transformer.modules")
        parts = [modules.Transformer(str(folder)), modules.Pooling(16, pooling_mode="max")]
        model = library.SentenceTransformer(modules=parts, device="cpu")
        model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
        expected = model.encode(TEXTS, convert_to_numpy=True, show_progress_bar=False)
    source = open_encoder(str(tmp_path / "model"), "text", LOCAL)
    assert source.spec.pool == "max"
    np.testing.assert_allclose(embed(source).pooled, expected, atol=1e-5)


def bertweet(folder: Path) -> Path:
    """A tiny BERTweet: a RoBERTa and its slow tokenizer, whose merges make five words."""
    config = hf.RobertaConfig(**TINY | {"vocab_size": 24, "pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0})
    build(hf.RobertaModel, config).save_pretrained(folder)
    words = ["@USER", "HTTPURL", "good", "day", ":smile:", "l@@", "ow"]
    (folder / "vocab.txt").write_text("".join(f"{word} 9\n" for word in words))
    merges = [f"{word[:end]} {word[end : end + 1]}" for word in words[:5] for end in range(1, len(word) - 1)]
    merges += [f"{word[:-1]} {word[-1]}</w>" for word in words[:5]]
    (folder / "bpe.codes").write_text("".join(f"{merge} 9\n" for merge in merges))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertweetTokenizer"}))
    return folder


def test_bertweet_needs_emoji_and_spells_what_tweets_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(bertweet(tmp_path / "model"))
    find_spec = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(
            "importlib.util.find_spec", lambda name, *more: None if name == "emoji" else find_spec(name, *more)
        )
        with pytest.raises(ValueError, match=r"needs the package emoji.*: pip install emoji"):
            open_encoder(folder, "text")
    site = tmp_path / "site"  # stands in for the package, which spells each emoji as a word
    (site / "emoji-9.9.dist-info").mkdir(parents=True)
    (site / "emoji-9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: emoji\nVersion: 9.9\n")
    (site / "emoji.py").write_text("def demojize(text):\n    return text.replace(chr(0x1F600), ':smile:')\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "emoji", raising=False)
    source = open_encoder(folder, "text", LOCAL)
    assert json.loads(source.spec.preprocess)["tokenizer"]["normalization"] == "emoji 9.9"
    assert set(json.loads(source.spec.preprocess)["tokenizer"]) >= {"vocab.txt", "bpe.codes"}
    encoder: Any = source.load(Runtime())
    tokenizer = encoder.tokenizer
    assert tokenizer.__class__.__name__ == "BertweetTokenizer"
    ids = encoder.preprocess("@you good day \U0001f600 https://x.org")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<s>", "@USER", "good", "day", ":smile:", "HTTPURL", "</s>"]
    (encoded,) = encoder.encode([{"input_ids": ids}])
    with torch.inference_mode():
        hidden = encoder.tower.backbone.model(torch.tensor([ids])).last_hidden_state[0]
    np.testing.assert_allclose(encoded.tokens[0], hidden.numpy(), atol=1e-5)
    monkeypatch.delitem(sys.modules, "emoji", raising=False)


def test_bertweet_that_switches_normalization_off_needs_nothing(tmp_path: Path) -> None:
    folder = bertweet(tmp_path / "model")
    settings = {"tokenizer_class": "BertweetTokenizer", "normalization": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    before = open_encoder(str(folder), "text").spec
    assert "normalization" not in json.loads(before.preprocess)["tokenizer"]
    (folder / "bpe.codes").write_text("d a 9\n")
    assert open_encoder(str(folder), "text").spec.fingerprint != before.fingerprint
