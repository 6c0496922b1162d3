from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from msa.features.encoders import bundled
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.tower import pool_tokens
from msa.features.encoders.zoo import ENCODERS, list_encoders, open_encoder
from msa.features.installation import install_line
from msa.features.spec import EncoderSpec, Modality, canonical

DEFAULTS: list[tuple[str, Modality]] = [("efficientnet_lite0", "image"), ("minilm", "text")]
FULL = EncoderOptions(dtype="float32")
TEXTS = ["", "good morning", "what a long and winding sentence about nothing at all " * 20, "好 😀 #tag @you"]
SPEC = EncoderSpec("bert", "text", "transformers", "Bert", "sha256:0", "last", "mean", "{}", 8, "float16", "none", 9)
OPEN_AND_LIST = """
import sys
from msa.features.encoders.zoo import open_encoder
open_encoder("efficientnet_lite0", "image")
open_encoder("minilm", "text")
print([name for name in ("torch", "torchvision", "timm", "transformers", "gensim") if name in sys.modules])
"""


def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((300, 400), (256, 199), (40, 700))
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes]


def test_spec_survives_json_and_every_field_enters_the_fingerprint() -> None:
    assert EncoderSpec.from_json(SPEC.to_json()) == SPEC
    other = EncoderSpec("a", "image", "timm", "b", "c", "d", "e", "f", 1, "float32", "social", None)
    changed = [replace(SPEC, **{field.name: getattr(other, field.name)}) for field in fields(SPEC)]
    assert len({spec.fingerprint for spec in [SPEC, *changed]}) == len(fields(SPEC)) + 1


def test_slug_is_a_safe_folder_name() -> None:
    slug = replace(SPEC, name="../a b/" + "long" * 40).slug
    assert "/" not in slug
    assert not slug.startswith(".")
    assert len(slug) <= 73


def test_canonical_json_does_not_depend_on_order() -> None:
    assert canonical({"b": [1, 2], "a": "é"}) == canonical({"a": "é", "b": [1, 2]}) == '{"a":"é","b":[1,2]}'


def test_pooling_sees_real_tokens_only() -> None:
    tokens = torch.tensor([[[1.0, -1.0], [3.0, -5.0], [99.0, 99.0]], [[2.0, 0.0], [4.0, 1.0], [0.0, 5.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    expected = {
        "mean": [[2.0, -3.0], [2.0, 2.0]],
        "max": [[3.0, -1.0], [4.0, 5.0]],
        "cls": [[1.0, -1.0], [2.0, 0.0]],
        "last": [[3.0, -5.0], [0.0, 5.0]],
    }
    for how, vectors in expected.items():
        assert pool_tokens(tokens, mask, how).tolist() == vectors


@pytest.mark.parametrize(
    ("name", "modality", "message"),
    [
        ("vgg17", "image", r"unknown image encoder 'vgg17', `msa encoders` lists them; did you mean .*vgg16"),
        ("bert-base-uncase", "text", r"did you mean .*bert-base-uncased"),
        ("", "text", "unknown text encoder ''"),
        ("resnet50", "text", "'resnet50' serves image, not text; pass it as --image"),
        ("minilm", "image", "'minilm' serves text, not image; pass it as --text"),
        ("bert-base-uncased", "image", "serves text, not image"),
        ("timm:test_vit", "text", "serves image, not text"),
        ("gensim:doc2vec", "image", "serves text, not image"),
        ("gensim:some.vec", "image", "serves text, not image"),
    ],
)
def test_wrong_names_are_one_line_with_a_remedy(name: str, modality: Modality, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        open_encoder(name, modality)
    assert "\n" not in str(caught.value)


def test_a_weights_file_is_no_name_and_must_exist(tmp_path: Path) -> None:
    file = tmp_path / "model.pth"
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="name its architecture and pass the file as --weights"):
        open_encoder(str(file), "image")
    for name, modality in (("resnet18", "image"), ("minilm", "text")):
        with pytest.raises(ValueError, match="does not exist"):
            open_encoder(name, modality, EncoderOptions(weights=tmp_path / "absent.pth"))  # type: ignore[arg-type]


def test_listing_has_every_name_once_per_modality() -> None:
    listed = list_encoders()
    assert {(e.name, e.modality) for e in listed} == {
        (name, m) for name, known in ENCODERS.items() for m in known.widths
    }
    assert len(listed) == len({(e.name, e.modality) for e in listed})
    assert {(e.name, e.width, e.here) for e in listed} >= {("efficientnet_lite0", 1280, True), ("minilm", 384, True)}


def test_listing_sees_what_is_in_the_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    asked = {"vgg16", "openai/clip-vit-base-patch32"}
    assert not any(e.here for e in list_encoders() if e.name in asked)
    repo = tmp_path / "hub" / "models--openai--clip-vit-base-patch32"
    weights = [
        tmp_path / "torch" / "hub" / "checkpoints" / "vgg16-397923af.pth",
        repo / "snapshots" / ("a" * 40) / "model.safetensors",
    ]
    for file in weights:
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    assert [e.modality for e in list_encoders() if e.name in asked and e.here] == ["image", "image", "text"]


def test_opening_the_defaults_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", OPEN_AND_LIST], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("name", "modality"), DEFAULTS)
def test_fingerprints_of_the_defaults_are_pinned(name: str, modality: Modality) -> None:
    pinned = {"efficientnet_lite0": "efficientnet_lite0-f6e39b81f040", "minilm": "minilm-1cdc8444129b"}
    assert open_encoder(name, modality).spec.slug == pinned[name]


@pytest.mark.parametrize(("name", "modality"), DEFAULTS)
def test_the_same_file_given_by_hand_is_the_same_encoder(name: str, modality: Modality) -> None:
    given = EncoderOptions(weights=bundled.bundled_file(name))
    assert open_encoder(name, modality, given).spec == open_encoder(name, modality).spec


@pytest.mark.parametrize(("name", "modality"), DEFAULTS)
def test_missing_package_names_the_line_to_install(
    name: str, modality: Modality, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(ValueError, match=re.escape(f"which is missing: `{install_line('offline')}`")):
        open_encoder(name, modality)
    assert not any(e.here for e in list_encoders() if e.name == name)


@pytest.mark.parametrize(("name", "modality"), DEFAULTS)
def test_other_weights_than_the_pinned_are_refused(
    name: str, modality: Modality, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"other")
    monkeypatch.setattr(bundled, "bundled_file", lambda name: file)
    with pytest.raises(ValueError, match="should have sha256"):
        open_encoder(name, modality).load(Runtime())


def test_another_tokenizer_than_the_pinned_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = bundled.bundled_file("minilm")
    assert packed is not None
    for file in packed.parent.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(bundled, "bundled_file", lambda name: tmp_path / packed.name)
    with pytest.raises(ValueError, match=r"tokenizer\.json' should have sha256"):
        open_encoder("minilm", "text").load(Runtime())


@pytest.mark.parametrize(("name", "side"), [(name, lite.side) for name, lite in bundled.LITES.items()])
def test_a_lite_equals_timm_and_takes_its_key_names(name: str, side: int, tmp_path: Path) -> None:
    import timm
    from timm.data import resolve_model_data_config

    file = bundled.bundled_file(name)
    assert file is not None
    model: Any = timm.create_model(f"tf_{name}").eval()
    packed = torch.load(file, weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), packed.values(), strict=True)))
    assert canonical(resolve_model_data_config(model)) == canonical(bundled.LITES[name].preprocess)
    encoder = open_encoder(name, "image", FULL).load(Runtime())
    pixels = [encoder.preprocess(image) for image in images()]
    with torch.inference_mode():
        maps = model.forward_features((torch.stack(pixels) / 255 - 0.5) / 0.5)
    encoded = encoder.encode(pixels)[0]
    assert encoded.pooled.shape == (3, 1280)
    assert [tokens.shape for tokens in encoded.tokens] == [((-(-side // 32)) ** 2, 1280)] * 3
    near = 1e-5 * float(maps.abs().max())  # channels_last, and another number of threads, sum in another order
    np.testing.assert_allclose(encoded.pooled, maps.mean((2, 3)).numpy(), atol=near)
    np.testing.assert_allclose(np.stack(encoded.tokens), maps.flatten(2).transpose(1, 2).numpy(), atol=near)
    for row, item in enumerate(pixels):
        np.testing.assert_allclose(encoder.encode([item])[0].pooled[0], encoded.pooled[row], atol=near)
    torch.save(model.state_dict(), tmp_path / "timm.pth")
    again = open_encoder(name, "image", replace(FULL, weights=tmp_path / "timm.pth")).load(Runtime())
    np.testing.assert_array_equal(again.encode(pixels)[0].pooled, encoded.pooled)


def test_minilm_equals_a_direct_forward_and_is_cut_at_256() -> None:
    import transformers

    file = bundled.bundled_file("minilm")
    assert file is not None
    tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent)
    from msa.features.model_files.weights import load_state

    model = transformers.BertModel(transformers.AutoConfig.from_pretrained(file.parent)).eval()
    model.load_state_dict(load_state(file), strict=False)
    encoder = open_encoder("minilm", "text", FULL).load(Runtime())
    prepared = [encoder.preprocess(text) for text in TEXTS]
    encoded = encoder.encode(prepared)[0]
    assert [encoder.length(item) for item in prepared] == [len(tokens) for tokens in encoded.tokens]
    assert max(map(encoder.length, prepared)) == 200 + 2
    assert encoder.length(encoder.preprocess("word " * 999)) == 256
    for row, text in enumerate(TEXTS):
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=256, padding=False)
        with torch.inference_mode():
            hidden = model(**inputs).last_hidden_state[0]
        (alone,) = encoder.encode([prepared[row]])
        for tokens, pooled in ((encoded.tokens[row], encoded.pooled[row]), (alone.tokens[0], alone.pooled[0])):
            np.testing.assert_allclose(tokens, hidden.numpy(), atol=1e-5)
            np.testing.assert_allclose(pooled, hidden.mean(0).numpy(), atol=1e-5)


def test_minilm_checks_its_options() -> None:
    for length in (0, 2, 257):
        with pytest.raises(ValueError, match=f"must be 3 to 256; got {length}"):
            open_encoder("minilm", "text", EncoderOptions(max_length=length))
    with pytest.raises(ValueError, match="one of mean, cls, max, last, pooler; got 'sum'"):
        open_encoder("minilm", "text", EncoderOptions(pools=("sum",)))
    specs = [
        open_encoder("minilm", "text", options).spec
        for options in (EncoderOptions(), EncoderOptions(pools=("cls",)), EncoderOptions(max_length=64), FULL)
    ]
    assert (
        len(
            {spec.fingerprint for spec in [*specs, open_encoder("minilm", "text", EncoderOptions(clean="social")).spec]}
        )
        == 5
    )
