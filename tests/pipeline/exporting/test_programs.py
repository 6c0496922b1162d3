"""Every registered head as ONNX and as a torch program gives what msa predicts, or is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from exported_runs import PIECES, PIXELS, SIDES, check_equal, drawn_features, untrained_run, write_programs

from msa.heads.registry import ESTIMATORS, HEADS, head_info
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.exporting.graph import ExportedModel, feature_inputs
from msa.pipeline.exporting.programs import draw_features, export_program, largest_difference, save_torch

OPTIONS = [  # which change the operators of a head
    ("concat", "layers", 0),
    ("weighted", "weights", "fixed"),
    ("late", "combine", "vote"),
    ("hybrid", "combine", "max"),
    ("rnn", "cell", "gru"),
    ("rnn", "directions", 1),
    ("threeway", "joined", "concat"),
    ("attention", "positions", "learned"),
    ("transformer", "positions", "sinusoidal"),
]


def small(name: str, **options: int | str) -> HeadConfig:
    info = head_info(name)
    sizes = {"landmarks": 20} if "landmarks" in info.options else {}
    return HeadConfig(name, hidden=8, patches=None, token_width=4, options=sizes | options)


def check(config: HeadConfig, folder: Path, folds: int = 1) -> None:
    table = drawn_features(SIDES, tokens=config.tokens)
    run = untrained_run(config, table, folds)
    for model in write_programs(run, folder):
        check_equal(model, run, table)


@pytest.mark.slow  # one is in test_export.py
@pytest.mark.parametrize("name", list(HEADS))
def test_every_head_gives_the_same_in_all_formats(name: str, tmp_path: Path) -> None:
    check(small(name), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "option", "value"), OPTIONS)
def test_options_of_heads_give_the_same(name: str, option: str, value: int | str, tmp_path: Path) -> None:
    check(small(name, **{option: value}), tmp_path)


@pytest.mark.slow
def test_folds_and_ensembles_of_several_kinds_are_averaged_inside(tmp_path: Path) -> None:
    check(HeadConfig("gated+attention", hidden=8, token_width=4, patches=None, ensemble_size=2), tmp_path, folds=2)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["attention", "concat"])
def test_towers_are_exported_with_the_head_on_them(fusion: str, tmp_path: Path) -> None:
    config = HeadConfig(fusion, hidden=8, patches=None)
    table = drawn_features({"image": (PIXELS,), "text": (PIECES,)}, tokens=config.tokens)
    run = untrained_run(config, table, 1)
    for model in write_programs(run, tmp_path):
        check_equal(model, run, table)


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_classifiers_of_scikit_learn_are_refused_by_name(name: str) -> None:
    weights = {"model_path": __file__} if "model_path" in head_info(name).options else {}
    config = HeadConfig(name, options=weights)
    run = untrained_run(config, drawn_features(SIDES, tokens=False), 1)
    path = name.removeprefix("estimator:")
    with pytest.raises(ValueError, match=f"{path} is fitted as a scikit-learn classifier, .*; export a run of another"):
        feature_inputs(run)


def test_a_program_of_other_numbers_is_refused(tmp_path: Path) -> None:
    run = untrained_run(small("image"), drawn_features(SIDES, tokens=False), 1)
    inputs, model = feature_inputs(run), ExportedModel(run)
    file = tmp_path / "model.pt2"
    save_torch(export_program(model, inputs), file)
    assert largest_difference(model, inputs, file) < 1e-6
    torch.nn.init.ones_(run.heads[0].offsets)
    with pytest.raises(ValueError, match=r"model\.pt2 gives other logits than the heads \(off by .*nothing was"):
        largest_difference(model, inputs, file)


def test_the_features_that_programs_are_compared_on_lack_either_modality_and_both() -> None:
    run = untrained_run(small("attention"), drawn_features(SIDES, tokens=True), 1)
    drawn = draw_features(feature_inputs(run), rows=64, positions=9)
    sides = zip(drawn["image_mask"], drawn["text_mask"], strict=True)
    lacking = {(bool(image.any()), bool(text.any())) for image, text in sides}
    assert lacking == {(True, True), (True, False), (False, True), (False, False)}
