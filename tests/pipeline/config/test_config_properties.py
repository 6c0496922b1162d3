"""Whatever a config holds is written and read back; whatever is out of range is one line that names the field."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from msa.features.setting import WIDEST, Setting
from msa.pipeline.config.config_template import to_toml, write_config
from msa.pipeline.config.data_config import DataConfig, read_split
from msa.pipeline.config.forms import form_of, option_flags, read_settings
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.search_config import Search
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.config.tune_config import TuneConfig
from msa.pipeline.runs.run_config import read_head

KINDS = (HeadConfig, TrainConfig, TuneConfig, DataConfig, Search)
SETTINGS = {(kind, one.name): one.metadata["setting"] for kind in KINDS for one in fields(kind)}
RANGES = [key for key, known in SETTINGS.items() if not (known.minimum is None and known.above is None)]
CHOICES = {
    (kind, name): known.choices() if known.choices else get_args(get_type_hints(kind)[name])
    for (kind, name), known in SETTINGS.items()
    if known.choices or get_origin(get_type_hints(kind)[name]) is Literal
}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    bool: st.booleans(),
    Path: texts.map(Path),
    tuple[str, ...]: st.lists(texts, max_size=3).map(tuple),
    tuple[int, int] | None: st.none() | st.tuples(st.integers(1, 99), st.integers(1, 99)),
    Mapping[str, int | float | str]: st.dictionaries(
        st.sampled_from(["layers", "heads"]), st.integers() | st.floats(allow_nan=False) | st.just("mean")
    ),
    "fusion": st.sampled_from(["gated", "gated+kernel", "sklearn.svm.SVC"]),
    "layers": st.just("all") | st.integers(1).map("last:{}".format),
    "memory": st.just("") | st.integers(1, 999).map("{}GB".format),
}


def numbers(known: Setting, kind: type) -> st.SearchStrategy[Any]:
    """Any number in the range of a setting."""
    low = known.minimum if known.above is None else known.above
    assert low is not None
    high = known.maximum if known.below is None else known.below
    if kind is int:
        return st.integers(math.ceil(low), WIDEST - 1 if high is None else math.floor(high) - (known.below is not None))
    return st.floats(
        low, high, exclude_min=known.above is not None, exclude_max=known.below is not None, allow_infinity=False
    )


def values(kind: type, name: str) -> st.SearchStrategy[Any]:
    """Any value of a field. 0 and none are one for a number that may be none, so it is none here."""
    hint = get_type_hints(kind)[name]
    if (kind, name) in CHOICES:
        return st.sampled_from(CHOICES[kind, name])
    if (kind, name) in RANGES:
        found = numbers(SETTINGS[kind, name], hint if hint is float else int)
        return found.map(lambda number: number or None) if NoneType in get_args(hint) else found
    return VALUES[name if name in VALUES else hint]


def configs(kind: type) -> st.SearchStrategy[Any]:
    """Any config whose settings go together."""

    def build(given: dict[str, Any]) -> Any:
        try:
            return kind(**given)
        except ValueError:
            return None

    some = st.fixed_dictionaries({}, optional={one.name: values(kind, one.name) for one in fields(kind)})
    return some.map(build).filter(lambda config: config is not None)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(data=st.data())
def test_options_written_to_a_file_are_read_back(kind: Any, data: st.DataObject) -> None:
    config = data.draw(configs(kind))
    hints, lines = get_type_hints(kind), []
    for one in fields(kind):
        value = form_of(hints[one.name]).write(getattr(config, one.name))
        lines.append(f"{option_flags(one)[0].removeprefix('--')} = {to_toml(value)}")
    read = read_settings(kind, tomllib.loads("\n".join(lines)))
    if kind is DataConfig:
        read["cache"] = Path(read["cache"])  # which the command line does
    assert kind(**read) == config


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(data=st.data())
def test_what_a_run_stores_is_read_back(kind: Any, data: st.DataObject) -> None:
    config = data.draw(configs(kind))
    if kind is DataConfig:
        assert DataConfig(**read_split(json.loads(json.dumps(config.split)))).split == config.split
    else:
        stored = json.loads(json.dumps(asdict(config)))
        assert (read_head(stored) if kind is HeadConfig else kind(**stored)) == config


@pytest.mark.parametrize(("kind", "name"), RANGES)
@settings(max_examples=30)
@given(data=st.data())
def test_a_number_out_of_range_is_one_line_that_names_the_field(kind: Any, name: str, data: st.DataObject) -> None:
    known = SETTINGS[kind, name]
    whole = get_type_hints(kind)[name] is not float
    any_number = st.integers() | st.just(WIDEST) if whole else st.floats() | st.integers()
    refuse(kind, name, data.draw(any_number.filter(lambda number: not known.holds(number))))


@pytest.mark.parametrize(("kind", "name"), CHOICES)
@settings(max_examples=30)
@given(value=st.text())
def test_another_choice_is_one_line_that_names_the_field(kind: Any, name: str, value: str) -> None:
    assume(value not in CHOICES[kind, name])
    refuse(kind, name, value)


def refuse(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"\A{name} must be .*, got ") as error:
        kind(**{name: value})
    assert str(error.value).endswith(repr(value))
    assert str(error.value).isprintable()


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=texts, image=texts, text=texts)
def test_a_template_is_a_toml_file_with_the_values_given(tmp_path: Path, data: str, image: str, text: str) -> None:
    write_config(tmp_path / "msa.toml", data=data, image=image, text=text, overwrite=True)
    assert tomllib.loads((tmp_path / "msa.toml").read_bytes().decode()) == {"data": data, "image": image, "text": text}
