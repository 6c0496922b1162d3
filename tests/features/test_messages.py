"""Errors of libraries in one line."""

from __future__ import annotations

import pytest

from msa.features.messages import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("wrong  size.\nand a page of detail"), "wrong size"),
        (RuntimeError("\n\nlate"), "late"),
        (RuntimeError(), "RuntimeError"),
        (EOFError(" \n"), "EOFError"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty(error: Exception, line: str) -> None:
    assert first_line(error) == line
