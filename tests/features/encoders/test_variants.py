from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from msa.cli import run_command
from msa.features.encoders import bundled as embedded
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.sources import reopen
from msa.features.encoders.variants import (
    EncoderName,
    Stage,
    expand,
    parse_encoder_name,
    read_layers,
    read_pools,
    safe_base_name,
)
from msa.features.encoders.word_vectors import load_fitted, save_fitted
from msa.features.encoders.zoo import open_encoder
from msa.features.spec import EncoderSpec, Modality
from msa.features.store.store import stored_specs
from msa.pipeline.data.cached_features import find_spec

SPEC = EncoderSpec("bert", "text", "transformers", "B", "sha256:0", "last", "pooler", "{}", 8, "float16", "none", 9)
STAGES = [Stage("last", 8), Stage("middle", 6), Stage("first", 4)]
POOLS = ("pooler", "mean", "max")
FULL = EncoderOptions(dtype="float32")
OPEN = """
import sys
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.zoo import open_encoder
options = EncoderOptions(layers=(-1, -4), pools=("mean", "max"))
print(*(spec.name for name, kind in (("efficientnet_lite0", "image"), ("minilm", "text"))
        for spec in open_encoder(name, kind, options).specs))
print([name for name in ("torch", "torchvision", "timm", "transformers", "gensim") if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minilm", EncoderName("minilm")),
        ("minilm@-4", EncoderName("minilm", -4)),
        ("minilm@max", EncoderName("minilm", None, "max")),
        ("resnet50@-2@max", EncoderName("resnet50", -2, "max")),
        ("efficientnet_lite0@view1", EncoderName("efficientnet_lite0", None, None, 1)),
        ("vgg16@whole", EncoderName("vgg16", whole=True)),
        ("vgg16@-2@max@whole@view2", EncoderName("vgg16", -2, "max", 2, whole=True)),
        ("a/b@-12@cls@view3", EncoderName("a/b", -12, "cls", 3)),
        ("gensim:v.txt@max", EncoderName("gensim:v.txt", None, "max")),
        ("minilm@max@-4", EncoderName("minilm@max", -4)),  # the wrong way round: the base is no name
        ("minilm@4", EncoderName("minilm@4")),
        ("minilm@-0", EncoderName("minilm@-0")),
        ("minilm@sum", EncoderName("minilm@sum")),
        ("@max", EncoderName("@max")),
    ],
)
def test_names_are_read_from_the_right(name: str, expected: EncoderName) -> None:
    assert parse_encoder_name(name) == expected
    assert expected.base + expected.suffix == name


def test_an_existing_path_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model@max").mkdir()
    (tmp_path / "v@-2").write_text("good 1 2\n")
    folder, file = str(tmp_path / "model@max"), f"gensim:{tmp_path / 'v@-2'}"
    assert parse_encoder_name(folder) == EncoderName(folder)
    assert parse_encoder_name(f"{folder}@-2@max") == EncoderName(folder, -2, "max")
    assert parse_encoder_name(file) == EncoderName(file)
    assert parse_encoder_name(folder, local=False).pool == "max"
    assert [safe_base_name(name) for name in ("model@max", "model@v2", "model")] == ["model_max", "model@v2", "model"]
    pytest.importorskip("gensim")
    pytest.importorskip("jieba")
    assert [open_encoder(name, "text").spec.name for name in (file, f"{file}@max")] == [
        "gensim:v_-2",
        "gensim:v_-2@max",
    ]


def test_specs_are_the_product_in_the_order_asked_for() -> None:
    asked = EncoderOptions(layers=(-3, -1), pools=("max", "mean"))
    specs = expand(SPEC, asked, stages=STAGES, pools=POOLS)
    assert [(s.name, s.layer, s.pool, s.width) for s in specs] == [
        ("bert@-3@max", "first", "max", 4),
        ("bert@-3", "first", "mean", 4),
        ("bert@max", "last", "max", 8),
        ("bert@mean", "last", "mean", 8),
    ]
    assert len({spec.fingerprint for spec in specs}) == 4


def test_the_own_layer_and_pooling_are_the_plain_spec() -> None:
    for asked in (EncoderOptions(), EncoderOptions(layers=(-1, -1)), EncoderOptions(layers=(-1,), pools=("pooler",))):
        assert expand(SPEC, asked, stages=STAGES, pools=POOLS) == (SPEC,)


def test_the_models_own_vector_is_of_the_last_layer_alone() -> None:
    (inner,) = expand(SPEC, EncoderOptions(layers=(-2,)), stages=STAGES, pools=POOLS)
    assert (inner.name, inner.pool) == ("bert@-2", "mean")
    with pytest.raises(ValueError, match=r"pool of 'bert@-2' must be one of mean, max; got 'pooler'"):
        expand(SPEC, EncoderOptions(layers=(-2,), pools=("pooler",)), stages=STAGES, pools=POOLS)


@pytest.mark.parametrize(
    ("name", "modality", "message"),
    [
        ("minilm@-8", "text", r"layer of 'minilm' must be one of -1 \(last_hidden_state\), .*-7 \(.*\); got -8"),
        ("efficientnet_lite0@cls", "image", "pool of 'efficientnet_lite0' must be one of mean, max; got 'cls'"),
        ("minilm@sum", "text", r"unknown text encoder 'minilm@sum' \(near: minilm.*variants are NAME\[@LAYER\]"),
        ("resnet18@-5", "image", r"one of -1 \(layer4\), -2 \(layer3\), -3 \(layer2\), -4 \(layer1\); got -5"),
        ("minilm@view1", "text", "views are of images"),
        ("gensim:doc2vec@mean", "text", "must be one of inferred; got 'mean'"),
    ],
)
def test_unknown_variants_are_one_line_with_the_choices(name: str, modality: Modality, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        open_encoder(name, modality, EncoderOptions(corpus=("a a", "a b")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "expected"), [("-1", (-1,)), ("-1, -4", (-1, -4)), ("-12,-1", (-12, -1))])
def test_layers_are_read(text: str, expected: tuple[int, ...]) -> None:
    assert read_layers(text) == expected
    assert read_pools("auto") == ()
    assert read_pools("mean, max") == ("mean", "max")


@pytest.mark.parametrize("text", ["", "4", "-1,", "-1;-2", "0", "last"])
def test_what_is_no_layer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"wants negative numbers.*as -1,-4; got"):
        read_layers(text)


@pytest.mark.parametrize(
    ("name", "modality", "slug"),
    [
        ("efficientnet_lite0", "image", "efficientnet_lite0-f6e39b81f040"),
        ("minilm", "text", "minilm-1cdc8444129b"),
    ],
)
def test_saying_the_default_changes_no_fingerprint(name: str, modality: Modality, slug: str) -> None:
    for said in (name, f"{name}@-1", f"{name}@mean", f"{name}@-1@mean"):
        assert open_encoder(said, modality).spec.slug == slug
    asked = open_encoder(name, modality, EncoderOptions(layers=(-1, -2), pools=("mean", "max")))
    assert asked.specs[0].slug == slug
    assert [spec.name for spec in asked.specs] == [name, f"{name}@max", f"{name}@-2", f"{name}@-2@max"]
    assert asked.specs[3] == open_encoder(f"{name}@-2@max", modality).spec


def test_a_name_wins_over_the_options_for_all() -> None:
    asked = EncoderOptions(layers=(-1, -2), pools=("mean", "max"))
    assert [spec.name for spec in open_encoder("minilm@-4@cls", "text", asked).specs] == ["minilm@-4@cls"]
    assert [spec.name for spec in open_encoder("minilm@-4", "text", asked).specs] == ["minilm@-4", "minilm@-4@max"]


def test_a_view_of_a_variant() -> None:
    specs = open_encoder("efficientnet_lite0@-2@max@view1", "image").specs
    assert [(spec.name, spec.width) for spec in specs] == [("efficientnet_lite0@-2@max@view1", 320)]


def test_layers_of_the_defaults_are_those_of_their_libraries() -> None:
    from msa.features.encoders.families import find_stages, read_config
    from msa.features.encoders.timm_models import build_meta_model, timm_stages

    for name, lite in embedded.LITES.items():
        assert lite.stages == timm_stages(build_meta_model(f"tf_{name}"), lite.preprocess)
    packed = embedded.bundled_file("minilm")
    assert packed is not None
    config, family, model_class = read_config(packed.parent, "text")
    assert list(embedded.MINILM_STAGES) == find_stages(config, model_class, "text")
    assert open_encoder("minilm", "text").spec.pool == family.pools[0]


def test_opening_variants_of_the_defaults_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", OPEN], capture_output=True, text=True, check=True)
    names, loaded = done.stdout.splitlines()
    assert names.split()[-1] == "minilm@-4@max"
    assert loaded == "[]"


def test_several_layers_and_poolings_come_from_one_forward_pass() -> None:
    asked = replace(FULL, layers=(-1, -4, -7), pools=("mean", "cls"))
    encoder: Any = open_encoder("minilm", "text", asked).load(Runtime())
    texts = ["good morning", "what a long and winding sentence", "!"]
    prepared = [encoder.preprocess(text) for text in texts]
    passes: list[int] = []
    model = encoder.tower.backbone.model
    model.register_forward_hook(lambda module, given, output: passes.append(1))
    encoded = encoder.encode(prepared)
    assert len(passes) == len({encoder.length(item) for item in prepared})
    assert len(encoded) == len(encoder.specs) == 6
    for spec, result in zip(encoder.specs, encoded, strict=True):
        (alone,) = open_encoder(spec.name, "text", FULL).load(Runtime()).encode(prepared)
        number = int(spec.name.split("@")[1]) if "@-" in spec.name else -1
        for row, item in enumerate(prepared):
            with torch.inference_mode():
                hidden = model(input_ids=torch.tensor([item["input_ids"]]), output_hidden_states=True).hidden_states
            expected = hidden[number][0].numpy()
            np.testing.assert_allclose(result.tokens[row], expected, atol=1e-5)
            pooled = expected[0] if spec.pool == "cls" else expected.mean(0)
            np.testing.assert_allclose(result.pooled[row], pooled, atol=1e-5)
        np.testing.assert_allclose(result.pooled, alone.pooled, atol=1e-6)


def test_several_poolings_come_from_one_fit_and_each_is_restored(tmp_path: Path) -> None:
    pytest.importorskip("gensim")
    pytest.importorskip("jieba")
    corpus = ("the cat sat on the mat", "a dog sat on the log and the cat ran", "a day for the dog") * 4
    source = open_encoder("gensim:word2vec", "text", EncoderOptions(pools=("mean", "max", "last"), corpus=corpus))
    assert [spec.name for spec in source.specs] == ["gensim:word2vec", "gensim:word2vec@max", "gensim:word2vec@last"]
    encoder = source.load(Runtime())
    prepared = [encoder.preprocess(text) for text in corpus[:3]]
    encoded = encoder.encode(prepared)
    for row, tokens in enumerate(encoded[0].tokens):
        for result, expected in zip(encoded, (tokens.mean(0), tokens.max(0), tokens[-1]), strict=True):
            np.testing.assert_array_equal(result.pooled[row], expected)
            np.testing.assert_array_equal(result.tokens[row], tokens)
    save_fitted(encoder, tmp_path / source.spec.slug)
    for spec, result in zip(source.specs, encoded, strict=True):
        (alone,) = load_fitted(tmp_path / spec.slug, spec).load(Runtime()).encode(prepared)
        np.testing.assert_array_equal(alone.pooled, result.pooled)
    with pytest.raises(ValueError, match=r"layer of 'gensim:word2vec' must be one of -1 \(vectors\); got -2"):
        open_encoder("gensim:word2vec@-2", "text", EncoderOptions(corpus=corpus))


def run(*arguments: object) -> None:
    assert run_command([str(argument) for argument in arguments]) == 0


def test_extract_train_and_predict_by_variant_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--layers -1,-4 --pool mean,max` caches four encoders, each of which a head finds and a run reopens by name."""
    table, cache = tmp_path / "posts.csv", tmp_path / "cache"
    rows = [f"{i},{'good' if i % 2 else 'bad'} day number {i},{'positive' if i % 2 else 'negative'}" for i in range(24)]
    table.write_text("\n".join(["id,text,label", *rows]))
    run("extract", table, "--image", "none", "--cache", cache, "--layers", "-1,-4", "--pool", "mean,max", "--json")
    reports = json.loads(capsys.readouterr().out)["encoders"]
    names = ["minilm", "minilm@max", "minilm@-4", "minilm@-4@max"]
    assert [(report["name"], report["encoded"]) for report in reports] == [(name, 24) for name in names]
    run("extract", table, "--image", "none", "--cache", cache, "--text", "minilm@-4", "--json")
    assert json.loads(capsys.readouterr().out)["encoders"][0]["cached"] == 24
    specs = {spec.name: spec for spec in stored_specs(cache)}
    assert set(specs) == set(names)
    for name, spec in specs.items():
        assert reopen(spec, cache).specs == (spec,)
        assert find_spec(cache, name, "text") == spec
        assert json.loads((cache / spec.slug / "origin.json").read_text())["name"] == name
    for said, meant in (("minilm@-1", "minilm"), ("minilm@mean", "minilm"), ("minilm@-4@mean", "minilm@-4")):
        assert find_spec(cache, said, "text") == specs[meant]
    with pytest.raises(ValueError, match=r"no text features of 'minilm@-3'"):
        find_spec(cache, "minilm@-3", "text")
    where = ("--image", "none", "--text", "minilm@-4", "--cache", cache, "--runs", tmp_path / "runs")
    run("train-head", table, *where, "--fusion", "text", "--epochs", 2, "--device", "cpu")
    run("predict", tmp_path / "runs", table, "--rows", "all", "--out", tmp_path / "out", "--device", "cpu")
