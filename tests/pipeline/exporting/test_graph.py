"""The module of a run reads features of each encoder as the cache is read, and averages as `msa predict` does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from experiments import IMAGE, QUICK, WORDS
from exported_runs import SIDES, check_equal, drawn_features, untrained_run

from msa.features.spec import EncoderSpec, Modality
from msa.pipeline.config.ensemble_config import EnsembleConfig, Member
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.exporting.export import describe_model
from msa.pipeline.exporting.exported_model import Model
from msa.pipeline.exporting.graph import ExportedModel, feature_inputs
from msa.pipeline.runs.runs import Run

OTHER_WORDS = replace(WORDS, name="more words", width=9)
OCR = replace(WORDS, name="words@ocr", preprocess='{"ocr":{}}', width=4)
Sides = dict[Modality, tuple[EncoderSpec, ...]]
TWO: Sides = {"image": (IMAGE,), "text": (WORDS, OTHER_WORDS)}
HEAD = HeadConfig("attention", hidden=8, patches=None, token_width=4)
POOLED = HeadConfig("gated", hidden=8)


def loaded(run: Run) -> Model:
    """The module itself behind the loader, without a program between."""
    inputs, module = feature_inputs(run), ExportedModel(run)
    described = describe_model(run, inputs)
    model = Model.__new__(Model)
    model.classes, model.inputs = described["classes"], {one["name"]: one for one in described["inputs"]}

    def run_module(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            return [one.numpy() for one in module({name: torch.from_numpy(given) for name, given in arrays.items()})]

    model.run = run_module
    return model


@pytest.mark.parametrize(
    ("config", "sides"),
    [
        (POOLED, SIDES),
        (POOLED, TWO),
        (POOLED, {"image": (IMAGE,), "text": (WORDS, OCR)}),
        (POOLED, {"image": (), "text": (WORDS,)}),
        (HEAD, SIDES),
        (HEAD, TWO),
        (HEAD, {"image": (IMAGE,), "text": (WORDS, OCR)}),
        (HEAD, {"image": (IMAGE,), "text": ()}),
        (replace(HEAD, token_width=None), TWO),
        (replace(HEAD, ensemble_size=3), SIDES),
        (replace(POOLED, fusion="gated+late", ensemble_size=2, options={"combine": "max"}), TWO),
    ],
)
def test_features_of_each_encoder_are_read_as_from_the_cache(config: HeadConfig, sides: Sides) -> None:
    table = drawn_features(sides, tokens=config.tokens)
    run = untrained_run(config, table)
    check_equal(loaded(run), run, table)


def test_augmented_views_are_averaged_and_default_to_the_plain_image() -> None:
    table = drawn_features(SIDES, tokens=False, views=2)
    run = untrained_run(replace(POOLED, views=2, average_views=True), table)
    model = loaded(run)
    assert list(model.inputs) == ["image", "text", "image_view1", "image_view2"]
    check_equal(model, run, table)
    image = np.ones((1, IMAGE.width), np.float32)
    plain = model.outputs(image=image, image_view1=image, image_view2=image)
    np.testing.assert_array_equal(model.outputs(image=image)[0], plain[0])


def test_the_members_of_a_greedy_ensemble_are_exported_as_one_head() -> None:
    table = drawn_features(TWO, tokens=False)
    members = (Member(0, 2, POOLED, QUICK, None, (1,)), Member(1, 1, HeadConfig("late", hidden=4), QUICK, (), (0, 1)))
    run = untrained_run(EnsembleConfig("greedy", inputs="pooled", members=(members, members)), table)
    check_equal(loaded(run), run, table)


def test_learned_positions_bound_the_number_of_tokens() -> None:
    table = drawn_features(SIDES, tokens=True)
    run = untrained_run(replace(HEAD, options={"positions": "learned"}), table, 1)
    assert {one.name: one.high for one in feature_inputs(run)} == {"image": 513, "text": 513}


def test_positions_that_depend_on_other_posts_are_refused() -> None:
    run = untrained_run(replace(HEAD, fusion="mult"), drawn_features(TWO, tokens=True), 1)
    with pytest.raises(ValueError, match=r"mult numbers .* several text encoders .* --option positions=none$"):
        feature_inputs(run)
