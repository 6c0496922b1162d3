"""Tables as plain text: numbers to the right, text to the left, wide characters counted as two columns."""

from __future__ import annotations

from msa.features.text_table import Table


def test_numbers_are_aligned_to_the_right_and_text_to_the_left() -> None:
    table = Table(["name", "n", "p", "note"], [["a", 5, "<0.001 **", "long"], ["bcdef", 123, "-", "x"]], "A title")
    assert str(table).splitlines() == [
        "A title",
        "name     n          p  note",
        "-----  ---  ---------  ----",
        "a        5  <0.001 **  long",
        "bcdef  123          -  x",
    ]


def test_wide_characters_take_two_columns() -> None:
    lines = str(Table(["class", "n"], [["积极", 1], ["neutral", 20]])).splitlines()
    assert lines[2] == "积极      1"
    assert lines[3] == "neutral  20"


def test_missing_numbers_are_aligned_as_numbers_and_bold_is_a_row_or_a_cell() -> None:
    table = Table(["a", "b"], [["-", 1], ["-", 2]], bold=[1, (0, 1)])
    assert table.numbers == [True, True]
    assert [table.is_bold(row, column) for row in (0, 1) for column in (0, 1)] == [False, True, True, True]
