"""The configs of heads, data and searches: their ranges, and defaults that are the same everywhere."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

from msa.features.extraction.settings import ExtractSettings
from msa.heads.registry import HEADS, build_head
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.search_config import Search
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.config.tune_config import TuneConfig
from msa.pipeline.config.values import read_grid, read_value, write_grid


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (HeadConfig, "hidden", 0),
        (HeadConfig, "dropout", 1.0),
        (HeadConfig, "inputs", "text"),
        (HeadConfig, "ensemble_size", 0),
        (HeadConfig, "views", -1),
        (DataConfig, "repeats", 0),
        (DataConfig, "hold_out", 0.6),
        (Search, "trials", -1),
        (Search, "inner", 1),
        (Search, "outer", 0),
        (Search, "sampler", "best"),
        (Search, "metric", "loss"),
        (Search, "batch", -1),
        *((HeadConfig, field, 10**11) for field in ("hidden", "token_width", "ensemble_size", "views")),
        *((kind, "epochs", 10**11) for kind in (TrainConfig, TuneConfig)),
        (DataConfig, "repeats", 10**11),
        (Search, "trials", 10**11),
        (ExtractSettings, "runtime", "onnx"),
        (ExtractSettings, "streams", -1),
        (ExtractSettings, "workers", -1),
    ],
)
def test_a_value_out_of_range_names_its_field(kind: Any, field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} must be .*, got "):
        kind(**{field: value})


def test_settings_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="add --views N"):
        HeadConfig(average_views=True)
    with pytest.raises(ValueError, match="add --ensemble N"):
        HeadConfig("gated+kernel")
    with pytest.raises(ValueError, match="--halving must be 2 or more"):
        Search(halving=1)
    with pytest.raises(ValueError, match=r"min_lr must be between 0 and lr \(0.001\), got 0.1"):
        TrainConfig(lr=1e-3, min_lr=0.1)
    with pytest.raises(ValueError, match="give it as --hidden"):
        HeadConfig("gated", options={"hidden": 8})
    with pytest.raises(ValueError, match="no head has an option 'head'; did you mean heads"):
        HeadConfig("gated", options={"head": 8})


@pytest.mark.parametrize("field", ["hidden", "dropout"])
def test_every_head_has_the_defaults_of_the_config(field: str) -> None:
    builders = [build_head, *(info.build for info in HEADS.values())]
    defaults = {inspect.signature(build).parameters[field].default for build in builders}
    assert defaults == {getattr(HeadConfig, field)}


@pytest.mark.parametrize("kind", [HeadConfig, TrainConfig, TuneConfig, DataConfig, Search])
def test_every_setting_has_a_sentence_of_help(kind: Any) -> None:
    for one in fields(kind):
        text = one.metadata["setting"].help
        assert text[0].isupper(), one.name
        assert text.endswith("."), one.name


def test_values_are_read_as_they_are_written() -> None:
    assert [read_value(text) for text in ("3", "1e-3", "mean", "False")] == [3, 1e-3, "mean", False]
    assert [read_grid(text) for text in ("4x2", "none")] == [(4, 2), None]
    assert [write_grid(grid) for grid in ((4, 2), None)] == ["4x2", "none"]
    with pytest.raises(ValueError, match="--patches wants ROWSxCOLUMNS"):
        read_grid("4by2")
