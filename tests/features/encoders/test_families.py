from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from tiny_families import IMAGE_CONFIGS, TEXT_CONFIGS, WORDS, build, write
from torch import Tensor

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.families import FAMILIES
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.zoo import open_encoder
from msa.features.spec import Modality

TEXTS = ["what a day", "", "this is not really a lovely day , is this a lovely day ! " * 2, "lovely days !"]
IMAGES = [
    torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(width))
    for height, width in ((50, 64), (32, 32), (3, 40))
]
PADDED = {"siglip", "siglip2"}
LOCAL = EncoderOptions(dtype="float32")


def tower(model: Any, modality: Modality) -> Any:
    name = "text_model" if modality == "text" else "vision_model"
    return getattr(model, name, model)


def encode(source: Any, items: list[Any]) -> tuple[Any, list[Any]]:
    """All items in one batch, and each alone."""
    encoder = source.load(Runtime())
    prepared = [encoder.preprocess(item) for item in items]
    return encoder.encode(prepared)[0], [encoder.encode([item])[0] for item in prepared]


def assert_same(got: np.ndarray[Any, Any], expected: Tensor) -> None:
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-5)


def check_text(folder: Path, model: Any, kind: str, options: EncoderOptions = LOCAL) -> None:
    """Batched and alone, tokens and pooled equal a direct forward of one unpadded text."""
    source = open_encoder(str(folder), "text", options)
    batched, alone = encode(source, TEXTS)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    for row, text in enumerate(TEXTS):
        padding = {"padding": "max_length"} if kind in PADDED else {}
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=source.spec.max_length, **padding)
        count = int(inputs.pop("attention_mask").sum())
        if kind not in PADDED:
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        with torch.inference_mode():
            output = tower(model, "text")(**inputs)
        tokens = output.last_hidden_state[0, :count]
        pool = source.spec.pool
        pooled = {"mean": tokens.mean(0), "cls": tokens[0], "max": tokens.amax(0), "last": tokens[-1]}.get(pool)
        expected = output.pooler_output[0] if pooled is None else pooled
        for encoded, index in ((batched, row), (alone[row], 0)):
            assert_same(encoded.tokens[index], tokens)
            assert_same(encoded.pooled[index], expected)


def check_image(folder: Path, model: Any, options: EncoderOptions = LOCAL) -> None:
    """Batched and alone, tokens and pooled equal a direct forward; 'mean' and 'max' are over the patches."""
    source = open_encoder(str(folder), "image", options)
    batched, alone = encode(source, IMAGES)
    processor = hf.AutoImageProcessor.from_pretrained(folder)
    for row, image in enumerate(IMAGES):
        inputs = processor(image, return_tensors="pt", input_data_format="channels_first")
        with torch.inference_mode():
            output = tower(model, "image")(**inputs)
        hidden = output.last_hidden_state
        tokens = hidden[0] if hidden.ndim == 3 else hidden[0].flatten(1).T
        patches = tokens[tokens.shape[0] % 16 if tokens.shape[0] > 16 else 0 :]  # 4 x 4 behind class and registers
        pooled = {"mean": patches.mean(0), "max": patches.amax(0), "cls": tokens[0]}.get(source.spec.pool)
        expected = output.pooler_output[0] if pooled is None else pooled
        assert source.spec.width == tokens.shape[1]
        for encoded, index in ((batched, row), (alone[row], 0)):
            assert_same(encoded.tokens[index], tokens)
            assert_same(encoded.pooled[index], expected)


def test_every_family_is_tested() -> None:
    assert set(FAMILIES) == {(kind, "text") for kind in TEXT_CONFIGS} | {(kind, "image") for kind in IMAGE_CONFIGS}


@pytest.mark.parametrize("kind", TEXT_CONFIGS)
def test_text_families_equal_a_direct_forward(tmp_path: Path, kind: str) -> None:
    model = build(TEXT_CONFIGS[kind])
    check_text(write(tmp_path / "model", model), model, kind)


@pytest.mark.parametrize("kind", IMAGE_CONFIGS)
def test_image_families_equal_a_direct_forward(tmp_path: Path, kind: str) -> None:
    model = build(IMAGE_CONFIGS[kind])
    check_image(write(tmp_path / "model", model), model)


@pytest.mark.parametrize("kind", ["bert", "clip", "siglip", "siglip2", "qwen3", "chinese_clip"])
def test_every_pooling_that_is_offered_works(tmp_path: Path, kind: str) -> None:
    model = build(TEXT_CONFIGS[kind])
    folder = write(tmp_path / "model", model)
    for pool in FAMILIES[kind, "text"].pools[1:]:
        check_text(folder, model, kind, replace(LOCAL, pools=(pool,)))


@pytest.mark.parametrize("kind", ["clip", "deit", "dinov2_with_registers", "convnext", "swin", "siglip", "dinov3_vit"])
def test_every_pooling_of_images_that_is_offered_works(tmp_path: Path, kind: str) -> None:
    model = build(IMAGE_CONFIGS[kind])
    folder = write(tmp_path / "model", model)
    for pool in FAMILIES[kind, "image"].pools[1:]:
        check_image(folder, model, replace(LOCAL, pools=(pool,)))


def test_siglip_2_lower_cases_as_it_was_trained(tmp_path: Path) -> None:
    """Its hub folders of one picture size are SigLIP's, with Gemma's tokenizer, which ignores `do_lower_case`."""
    folder = write(tmp_path / "model", build(TEXT_CONFIGS["siglip"]))
    hf.BertTokenizer(vocab=str(tmp_path / "words.txt"), do_lower_case=False).save_pretrained(folder)
    plain = open_encoder(str(folder), "text", LOCAL)
    other = plain.load(Runtime())
    special = dict(zip(("pad", "unk", "bos", "eos", "mask"), WORDS, strict=False))
    settings = {f"{name}_token": word for name, word in special.items()}
    settings |= {"tokenizer_class": "GemmaTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    lowering = open_encoder(str(folder), "text", LOCAL)
    encoder = lowering.load(Runtime())
    assert ("lower" in plain.spec.preprocess, "lower" in lowering.spec.preprocess) == (False, True)
    assert encoder.preprocess("A Lovely DAY") == encoder.preprocess("a lovely day")
    assert other.preprocess("A Lovely DAY") != other.preprocess("a lovely day")
    siglip2 = open_encoder(str(write(tmp_path / "naflex", build(TEXT_CONFIGS["siglip2"]))), "text", LOCAL)
    assert '"lower":true' in siglip2.spec.preprocess


FAMILY_LAYERS = [("text", kind) for kind in TEXT_CONFIGS] + [("image", kind) for kind in IMAGE_CONFIGS]


@pytest.mark.parametrize(("modality", "kind"), FAMILY_LAYERS)
def test_layers_equal_the_hidden_states(tmp_path: Path, modality: Modality, kind: str) -> None:
    """Each layer alone, and all in one pass, equal hidden_states[-k] of a direct forward; -1 is last_hidden_state."""
    configs = TEXT_CONFIGS if modality == "text" else IMAGE_CONFIGS
    model = build(configs[kind])
    folder = str(write(tmp_path / "model", model))
    count = 1 if modality == "text" and kind in PADDED else 2
    items: list[Any] = TEXTS[:count] if modality == "text" else IMAGES[:count]
    encoder = open_encoder(folder, modality, replace(LOCAL, layers=(-1, -2, -3), pools=("mean",))).load(Runtime())
    prepared = [encoder.preprocess(item) for item in items]
    encoded = encoder.encode(prepared)
    assert [spec.layer for spec in encoder.specs] == ["last_hidden_state", "hidden_states[-2]", "hidden_states[-3]"]
    library: Any = hf.AutoTokenizer if modality == "text" else hf.AutoImageProcessor
    reader = library.from_pretrained(folder)
    more = {"padding": "max_length", "max_length": 40} if count == 1 else {}
    for row, item in enumerate(items):
        extra = more if modality == "text" else {"input_data_format": "channels_first"}
        inputs = reader(item, return_tensors="pt", **extra)
        real = int(inputs["attention_mask"].sum()) if modality == "text" else None
        inputs.pop("attention_mask", None)
        with torch.inference_mode():
            output = tower(model, modality)(**inputs, output_hidden_states=True)
        for layer, spec, result in zip((-1, -2, -3), encoder.specs, encoded, strict=True):
            hidden = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
            tokens = hidden[0] if hidden.ndim == 3 else hidden[0].flatten(1).T
            assert spec.width == tokens.shape[1] == result.pooled.shape[1]
            assert_same(result.tokens[row], tokens[:real])
    (alone,) = open_encoder(f"{folder}@-2@mean", modality, LOCAL).load(Runtime()).encode(prepared)
    np.testing.assert_allclose(alone.pooled, encoded[1].pooled, atol=1e-6)


@pytest.mark.slow
def test_bert_base_and_clip_base_at_full_size(tmp_path: Path) -> None:
    bert = build(hf.BertConfig())
    check_text(write(tmp_path / "bert", bert), bert, "bert")
    clip = build(hf.CLIPConfig(text_config={"eos_token_id": 3}))
    folder = write(tmp_path / "clip", clip, side={"height": 224, "width": 224})
    check_text(folder, clip, "clip")
    check_image(folder, clip)
    spec = open_encoder(str(folder), "image", LOCAL).spec
    assert (spec.width, open_encoder(str(folder), "text", LOCAL).spec.max_length) == (768, 77)
