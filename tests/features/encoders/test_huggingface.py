from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import save_file

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.zoo import open_encoder
from msa.features.model_files.weights import weights_id

PIECES = ["what", "a", "lovely", "day", "this", "is", "not", ",", "really", "!", "##s"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES]
TEXTS = ["what a day", "", "this is not really a lovely day", "lovely days !"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TINY = SMALL | {"vocab_size": len(WORDS), "max_position_embeddings": 40, "pad_token_id": 0, "eos_token_id": 3}
PATCHY = SMALL | {"image_size": 32, "patch_size": 8}
LOCAL = EncoderOptions(dtype="float32")


def build(model_class: Any = hf.BertModel, config: Any = None) -> Any:
    """A model with fixed random weights, a tiny BERT by default."""
    torch.manual_seed(0)
    return model_class(config or hf.BertConfig(**TINY)).eval()


def write(folder: Path, model: Any, *, shard: str = "1GB") -> Path:
    """A folder as save_pretrained leaves it: config, weights, tokenizer, image processor."""
    model.save_pretrained(folder, max_shard_size=shard)
    vocabulary = folder.parent / "words.txt"
    vocabulary.write_text("\n".join(WORDS))
    hf.BertTokenizer(vocab=str(vocabulary)).save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def embed(source: Any, texts: list[str] = TEXTS) -> Any:
    encoder = source.load(Runtime())
    return encoder.encode([encoder.preprocess(text) for text in texts])[0]


def check(folder: Path, model: Any, options: EncoderOptions = LOCAL) -> None:
    """The folder's encoder gives what the BERT model gives directly."""
    encoded = embed(open_encoder(str(folder), "text", options))
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    for row, text in enumerate(TEXTS):
        with torch.inference_mode():
            tokens = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        np.testing.assert_allclose(encoded.tokens[row], tokens.numpy(), atol=1e-5)
        np.testing.assert_allclose(encoded.pooled[row], tokens.mean(0).numpy(), atol=1e-5)


def test_pool_and_length_are_checked(tmp_path: Path) -> None:
    folder = str(
        write(
            tmp_path / "model",
            build(hf.DistilBertModel, hf.DistilBertConfig(vocab_size=16, dim=16, n_layers=2, n_heads=2, hidden_dim=32)),
        )
    )
    with pytest.raises(ValueError, match=r"one of mean, cls, max, last; got 'meen'; did you mean mean"):
        open_encoder(folder, "text", EncoderOptions(pools=("meen",)))
    with pytest.raises(ValueError, match="got 'pooler'"):
        open_encoder(folder, "text", EncoderOptions(pools=("pooler",)))
    for length in (0, 2, 513):
        with pytest.raises(ValueError, match=f"must be 3 to 512; got {length}"):
            open_encoder(folder, "text", EncoderOptions(max_length=length))


@pytest.mark.parametrize(
    ("model_class", "config", "limit"),
    [
        (hf.BertModel, hf.BertConfig(**TINY), 40),
        (hf.RobertaModel, hf.RobertaConfig(**TINY), 39),  # the padding id takes a position
        (hf.BertModel, hf.BertConfig(**TINY | {"max_position_embeddings": 512}), 256),
    ],
)
def test_text_is_cut_to_what_the_model_can_take(tmp_path: Path, model_class: Any, config: Any, limit: int) -> None:
    source = open_encoder(str(write(tmp_path / "model", build(model_class, config))), "text", LOCAL)
    assert source.spec.max_length == limit
    assert embed(source, ["day " * 600]).tokens[0].shape == (limit, 16)


def test_said_model_max_length_binds(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", build())
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 12}))
    assert open_encoder(str(folder), "text", LOCAL).spec.max_length == 12
    assert open_encoder(str(folder), "text", replace(LOCAL, max_length=5)).spec.max_length == 5


def test_threads_may_preprocess_together(tmp_path: Path) -> None:
    encoder = open_encoder(str(write(tmp_path / "model", build())), "text", LOCAL).load(Runtime())
    alone = [encoder.preprocess(text) for text in TEXTS] * 50
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(encoder.preprocess, TEXTS * 50)) == alone


def test_fingerprint_knows_content_not_place(tmp_path: Path) -> None:
    first = write(tmp_path / "a" / "model", build())
    second = Path(shutil.copytree(first, tmp_path / "b" / "model"))
    spec = open_encoder(str(first), "text").spec
    assert spec.name == "model"
    assert open_encoder(str(second), "text").spec == spec
    tokenizer, config = second / "tokenizer.json", second / "config.json"
    before = tokenizer.read_text()
    tokenizer.write_text(before.replace('"lovely"', '"ugly"'))
    assert open_encoder(str(second), "text").spec.fingerprint != spec.fingerprint
    tokenizer.write_text(before)
    settings = json.loads(config.read_text())
    config.write_text(json.dumps(settings | {"id2label": {"0": "bad"}, "transformers_version": "9"}))
    assert open_encoder(str(second), "text").spec == spec
    config.write_text(json.dumps(settings | {"layer_norm_eps": 0.1}))
    assert open_encoder(str(second), "text").spec.fingerprint != spec.fingerprint


def test_shards_and_pytorch_bin(tmp_path: Path) -> None:
    model = build()
    folder = write(tmp_path / "model", model, shard="4KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    check(folder, model)
    for file in folder.glob("model*"):
        file.unlink()
    with pytest.raises(ValueError, match=r"no model\.safetensors or pytorch_model\.bin"):
        open_encoder(str(folder), "text")
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    check(folder, model)


@pytest.mark.parametrize("task", [hf.BertForSequenceClassification, hf.BertForMaskedLM, hf.BertForPreTraining])
def test_weights_of_a_task_model_lose_their_head(tmp_path: Path, task: Any) -> None:
    other = build(task)
    folder = write(tmp_path / "model", build())
    torch.save({"state_dict": other.state_dict()}, tmp_path / "tuned.pth")
    options = replace(LOCAL, weights=tmp_path / "tuned.pth")
    check(folder, other.bert, options)
    if task is hf.BertForMaskedLM:  # it has no pooler: what is not in the file must not be used
        with pytest.raises(ValueError, match=r"2 missing \(pooler\.dense\.bias"):
            open_encoder(str(folder), "text", replace(options, pools=("pooler",))).load(Runtime())


def test_wrong_weights_are_named(tmp_path: Path) -> None:
    model = build()
    folder = write(tmp_path / "model", model)
    state = dict(model.state_dict())
    state["encoder.layer.9.thing"] = torch.zeros(1)
    del state["encoder.layer.0.output.dense.weight"]
    state["embeddings.LayerNorm.weight"] = torch.ones(3)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="do not fit the model") as caught:
        open_encoder(str(folder), "text", replace(LOCAL, weights=tmp_path / "w.safetensors")).load(Runtime())
    for part in (
        "1 missing (encoder.layer.0.output.dense.weight)",
        "1 left over (encoder.layer.9.thing)",
        "1 of another shape (embeddings.LayerNorm.weight (3,) for (16,))",
    ):
        assert part in str(caught.value)


def test_loading_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "model", build(hf.CLIPModel, hf.CLIPConfig(text_config=TINY, vision_config=PATCHY)))
    capfd.readouterr()
    open_encoder(str(folder), "text", LOCAL).load(Runtime())
    open_encoder(str(folder), "image", LOCAL).load(Runtime())
    assert capfd.readouterr() == ("", "")


def test_wrong_modality_type_and_folder_are_one_line(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", build())
    with pytest.raises(ValueError, match="a 'bert' model serves text, not image"):
        open_encoder(str(folder), "image")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"model_type": "t5"}))
    with pytest.raises(ValueError, match="'t5' is not supported as text"):
        open_encoder(str(folder), "text")
    (folder / "config.json").write_text(json.dumps(settings | {"vocab_size": "many"}))
    with pytest.raises(ValueError, match="cannot be read by transformers"):
        open_encoder(str(folder), "text")
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no config\.json"):
        open_encoder(str(folder), "text")


def test_missing_tokenizer_or_image_processor_is_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", build(hf.CLIPModel, hf.CLIPConfig(text_config=TINY, vision_config=PATCHY)))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match="no image processor"):
        open_encoder(str(folder), "image")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ValueError, match="no tokenizer"):
        open_encoder(str(folder), "text")


def in_hub_cache(tmp_path: Path, name: str, model: Any, revision: str = "b" * 40) -> Path:
    repo = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(revision)
    return write(repo / "snapshots" / revision, model)


def test_hub_cache_is_used_without_network(tmp_path: Path) -> None:
    local = replace(LOCAL, local_files_only=True)
    with pytest.raises(ValueError, match="not in the hub's cache"):
        open_encoder("bert-base-uncased", "text", local)
    model = build()
    snapshot = in_hub_cache(tmp_path, "google-bert/bert-base-uncased", model)
    source = open_encoder("bert-base-uncased", "text", local)
    assert source.spec == open_encoder("google-bert/bert-base-uncased", "text", local).spec
    assert source.spec.name == "google-bert/bert-base-uncased"
    assert source.spec.weights == weights_id([snapshot / "model.safetensors"])
    expected = embed(open_encoder(str(snapshot), "text", LOCAL))
    np.testing.assert_array_equal(embed(source).pooled, expected.pooled)
    shutil.move(snapshot / "model.safetensors", tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="allow the download, or pass --weights FILE"):
        open_encoder("bert-base-uncased", "text", local)
    given = open_encoder("bert-base-uncased", "text", replace(local, weights=tmp_path / "w.safetensors"))
    assert given.spec.weights.startswith("sha256:")
    np.testing.assert_array_equal(embed(given).pooled, expected.pooled)
