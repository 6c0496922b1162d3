"""Settings: the ranges of fields are checked, and the message names the field, the range and the value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from msa.features.setting import Setting, check, setting


@dataclass(frozen=True)
class Settings:
    count: int = setting(1, "How many.", minimum=1, unit="rows")
    rate: float = setting(0.1, "How fast.", above=0)
    share: float = setting(0.0, "How much.", minimum=0, below=1)
    part: float = setting(0.0, "Which part.", minimum=0, maximum=0.5)
    clip: float = setting(0.0, "How large.", minimum=0, zero="off")
    width: int | None = setting(None, "How wide.", minimum=0)
    kind: Literal["a", "b"] = setting("a", "Which.")
    metric: str = setting("x", "By what.", choices=lambda: ("x", "y"))
    names: list[str] = setting([], "Names.")
    plain: int = -1

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("count", 0, "count must be 1 or more rows, got 0"),
        ("count", 2**63, f"count must be below 2**63, got {2**63}"),
        ("rate", 0.0, "rate must be above 0, got 0.0"),
        ("rate", math.nan, "rate must be above 0, got nan"),
        ("rate", math.inf, "rate must be above 0, got inf"),
        ("share", 1.0, "share must be at least 0 and below 1, got 1.0"),
        ("part", 0.6, "part must be from 0 to 0.5, got 0.6"),
        ("clip", -1.0, r"clip must be 0 (off) or more, got -1.0"),
        ("width", -1, "width must be 0 or more, got -1"),
        ("kind", "c", "kind must be one of a, b, got 'c'"),
        ("metric", "z", "metric must be one of x, y, got 'z'"),
    ],
)
def test_a_value_out_of_range_is_named(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        Settings(**{field: value})
    assert str(caught.value) == message


def test_values_in_range_pass_and_a_list_is_copied() -> None:
    assert Settings(width=0, share=0.99, part=0.5, kind="b").width == 0
    assert Settings().width is None
    assert Settings().names is not Settings().names
    assert Setting("Help.").holds("any text")
