"""CSV files come back as they were written, and no spreadsheet takes a text in them for a formula."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msa.features.csv_text import class_columns, read_cell, to_csv

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(st.lists(st.one_of(TEXTS, TEXTS.map("'=".__add__), st.sampled_from(["=1+1", "'", "''@", "-3", "\tx"]))))
def test_texts_come_back_and_none_is_a_formula(texts: list[str]) -> None:
    (_, *lines) = csv.reader(io.StringIO(to_csv(["text"], ([one, "."] for one in texts)), newline=""))
    assert [read_cell(line[0]) for line in lines] == texts
    for cell, _ in lines:
        assert cell[:1] not in ("=", "@", "\t", "\r")
        assert cell[:1] not in ("+", "-") or float(cell) == float(cell)


def test_numbers_and_plain_texts_stay_as_they_are() -> None:
    lines = [[-0.5, "-0.5", "+1e3", "a-b"]]
    assert to_csv(["-x"], lines) == "'-x\n-0.5,-0.5,+1e3,a-b\n"
    assert to_csv(["guid", "tag"], [["=1", "-x"]], plain=True) == "guid,tag\n=1,-x\n"


def test_a_mark_stands_where_spreadsheets_need_it() -> None:
    """A program that takes every CSV for UTF-8 finds the first column of a file that is all ASCII."""
    assert to_csv(["id", "text"], [["1", "开心"]]).encode().startswith(b"\xef\xbb\xbfid,")
    assert to_csv(["id", "text"], [["1", "happy"]]) == "id,text\n1,happy\n"
    assert to_csv(["guid", "tag"], [["1", "开心"]], plain=True) == "guid,tag\n1,开心\n"


@pytest.mark.parametrize(
    ("classes", "columns"),
    [
        (["a", "b"], ["a", "b"]),
        (["id", "b"], ["probability of id", "b"]),
        (["id", "probability of id"], ["probability of probability of id", "probability of id"]),
    ],
)
def test_each_class_has_a_column_of_its_own(classes: list[str], columns: list[str]) -> None:
    assert class_columns(["id", "label"], classes) == columns
