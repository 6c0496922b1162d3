"""Settings are written as options and read back to the same values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from msa.pipeline.config.forms import FORMS, form_of, option_flags, read_pairs, read_settings
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig

VALUES: dict[Any, list[Any]] = {
    tuple[str, ...]: [(), ("a", "b")],
    int | None: [None, 3],
    tuple[int, int] | None: [None, (4, 4)],
    Path | None: [None, Path("a/b")],
    Mapping[str, int | float | str]: [{}, {"layers": 2, "p": 0.5, "kind": "lstm"}],
}


@pytest.mark.parametrize("hint", VALUES)
def test_what_is_written_is_read_back(hint: Any) -> None:
    assert FORMS.keys() == VALUES.keys()
    form = form_of(hint)
    for value in VALUES[hint]:
        assert form.read(form.write(value)) == value


def test_a_pair_without_a_value_is_refused() -> None:
    assert read_pairs("--column", ["text=a=b"]) == {"text": "a=b"}
    with pytest.raises(ValueError, match="--column wants NAME=VALUE; got 'text'"):
        read_pairs("--column", ["text"])


def test_options_are_sorted_out_by_the_dataclass_that_has_them() -> None:
    options = {"lr": 0.1, "fusion": "gated", "option": "layers=2"}
    assert read_settings(TrainConfig, options) == {"lr": 0.1}
    assert read_settings(HeadConfig, options) == {"fusion": "gated", "options": {"layers": 2}}
    flags = {one.name: option_flags(one) for one in fields(TrainConfig)}
    assert flags["lr"][0] == "--lr"
    assert flags["batch_size"] == ("--batch-size",)
