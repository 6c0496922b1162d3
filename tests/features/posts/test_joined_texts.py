"""Texts of several columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from msa.features.posts.cells import Tally, join_texts, split_names
from msa.features.posts.layouts import ReadOptions, read_corpus


def test_columns_are_joined_by_lines_and_missing_ones_left_out() -> None:
    tally = Tally()
    assert join_texts(["a title", None, "a body"], tally) == "a title\na body"
    assert join_texts([None, None], tally) is None
    assert join_texts(["costs $T$"], tally) == "costs $T$"
    assert not tally
    assert join_texts(["$T$ or $T$", "x"], tally) == "x or x\nx"
    assert tally.total() == 1


def test_a_column_whose_name_holds_a_plus_is_that_column() -> None:
    assert split_names("a+b", ["a+b", "a", "b"]) == ["a+b"]
    assert split_names("a + b", ["a", "b"]) == ["a", "b"]
    assert split_names("c++") == ["c++"]


def test_titles_and_bodies_of_any_table(tmp_path: Path) -> None:
    (tmp_path / "posts.csv").write_text("id,title,body,label\n1,One,first,x\n2,,second,y\n3,Three,,x\n")
    corpus = read_corpus(tmp_path, options=ReadOptions(columns={"text": "title+body"}))
    assert [sample.text for sample in corpus.samples] == ["One\nfirst", "second", "Three"]
    with pytest.raises(ValueError, match="no column 'bodi' for text; did you mean body"):
        read_corpus(tmp_path, options=ReadOptions(columns={"text": "title+bodi"}))
