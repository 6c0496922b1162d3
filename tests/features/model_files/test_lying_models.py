"""Model folders whose files lie: one line, no code of theirs, and no more memory than their weights justify."""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_models import write_bert

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.zoo import open_encoder

DEEP = "[" * 100_000
CONFIGS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"hidden_size": 1 << 20, "intermediate_size": 1 << 20}, "it has 14293728755712 weights"),
    ({"vocab_size": 1 << 40}, "but the files hold 5568"),
    ({"vocab_size": -3}, "negative dimension"),
    ({"vocab_size": 3}, r"of another shape \(embeddings.word_embeddings.weight"),
    ({"num_hidden_layers": 10**9}, "1000000000 layers, but there are weights of 39 names"),
    ({"num_attention_heads": 0}, "modulo by zero"),
    ({"num_attention_heads": 7}, "not a multiple of the number of attention heads"),
    ({"hidden_size": "8"}, "hidden_size"),
    ({"hidden_act": "os.system"}, "os.system"),
    ({"pad_token_id": 10**9}, "Padding_idx"),
    ({"num_labels": 10**9}, "at most 1000000 are read"),
    ({"model_type": ["bert"]}, "'model_type' must be a string"),
    ({"_attn_implementation": "owner/kernel"}, "asks for _attn_implementation 'owner/kernel'; remove that entry"),
    ({"text_config": {"attn_implementation": "owner/kernel"}}, "asks for attn_implementation"),
    ({"quantization_config": {"quant_method": "bitsandbytes"}}, "asks for quantization_config"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bert(tmp_path / "tiny")
    return tmp_path / "tiny"


def open_model(folder: Path) -> None:
    source = open_encoder(str(folder), "text", EncoderOptions())
    encoder = source.load(Runtime())
    encoder.encode([encoder.preprocess("a")])


def refuse(folder: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        open_model(folder)
    assert "\n" not in str(caught.value)


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize(("fields", "message"), CONFIGS, ids=lambda value: str(value)[:30])
def test_a_config_that_lies_is_refused(folder: Path, fields: dict[str, Any], message: str) -> None:
    change(folder / "config.json", **fields)
    refuse(folder, message)


def test_no_code_that_a_folder_names_is_run(folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('ran')\n")
    reference = {"AutoConfig": "evil.A", "AutoModel": "evil.A", "AutoTokenizer": ["evil.A", None]}
    change(folder / "config.json", auto_map=reference)
    change(folder / "tokenizer_config.json", auto_map=reference, tokenizer_class="os.system")
    open_model(folder)
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", DEEP),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", DEEP),
        ("tokenizer_config.json", '{"pad_token": {"x": 1}}'),
        ("special_tokens_map.json", '{"unk_token": {"content": 7}}'),
        ("added_tokens.json", '{"x": "y"}'),
        ("modules.json", '[{"type": "os.system.Pooling", "path": ".."}]'),
    ],
    ids=lambda value: value[:30],
)
def test_files_of_a_tokenizer_that_lie_are_refused(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    refuse(folder, "download the model again")


def tensors(*offsets: tuple[int, int]) -> dict[str, Any]:
    return {str(n): {"dtype": "F32", "shape": [2], "data_offsets": list(pair)} for n, pair in enumerate(offsets)}


@pytest.mark.parametrize(
    ("header", "length", "message"),
    [
        ({}, 10 << 30, "header too large"),
        ({}, 2**64 - 1, "header too large"),
        (tensors((0, 8), (4, 12)), None, "invalid offset"),
        (tensors((0, 8), (8, 1 << 60)), None, "is not a whole safetensors file"),
        ({"a": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 8]}}, None, "overflow"),
        ({"a": {"dtype": "OBJ", "shape": [2], "data_offsets": [0, 8]}}, None, "unknown variant"),
        ({f"{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(2000)}, None, "of 2000 names"),
    ],
    ids=["10 GB", "64 bits", "overlap", "beyond", "overflow", "object", "names"],
)
def test_headers_that_lie_are_refused(folder: Path, header: Any, length: int | None, message: str) -> None:
    text = json.dumps(header).encode()
    size = struct.pack("<Q", len(text) if length is None else length)
    data = bytes(12) if "0" in header and "2" not in header else bytes(8) if "a" in header else b""
    (folder / "model.safetensors").write_bytes(size + text + data)
    refuse(folder, message)


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pipes in folders")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "modules.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_files_that_are_none_are_refused_without_waiting(folder: Path, name: str, kind: str) -> None:
    file = folder / name
    file.unlink(missing_ok=True)
    match kind:
        case "pipe":
            os.mkfifo(file)
        case "device":
            file.symlink_to("/dev/zero")
        case "folder":
            file.mkdir()
    refuse(folder, "not a regular file")
