"""docs/security.md names tests that exist, a test for each kind of input, and the packages that carry weights."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from msa.features.installation import EXTRAS

TESTS = Path(__file__).resolve().parent
PAGE = (TESTS.parent / "docs" / "security.md").read_text("utf-8")
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)


def test_every_test_that_is_named_exists() -> None:
    assert len(NAMED) > 30
    for file, name in NAMED:
        tree = ast.parse((TESTS / file).read_text("utf-8"))
        assert name in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}, f"{file}::{name}"


def test_every_input_has_a_test() -> None:
    table = PAGE.partition("| input |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(table) > 15
    assert [row for row in table if "::test_" not in row] == []


def test_packages_with_weights_have_a_licence() -> None:
    pinned = {"timm", "openvino", *(name for name in EXTRAS["offline"] if "lite" in name)}
    table = PAGE.partition("| package |")[2].partition("\n\n")[0]
    for name in ({*EXTRAS["offline"], *EXTRAS["zh"], "rapidocr"} - pinned) | {"efficientnet-lite0-"}:
        assert name in table, name
