"""Which columns of a table are meant: the user's choice, then the usual names; a mistake is answered with a cure."""

from __future__ import annotations

import pytest

from msa.features.posts.columns import Table, find_columns, note_unread


def table(*columns: str, rows: tuple[tuple[str, ...], ...] = (), header: bool = True) -> Table:
    return Table(columns, [(n, dict(enumerate(row))) for n, row in enumerate(rows, 2)], has_header=header)


def test_a_choice_comes_before_the_name_and_the_name_before_the_usual_ones() -> None:
    columns = table("id", "tweet", "text", "Label")
    usual = {"label": ("tag", "label"), "text": ("tweet",)}
    assert find_columns("a.csv", columns, {}, usual) == {"id": 0, "text": 2, "label": 3}
    assert find_columns("a.csv", columns, {"text": "tweet"}, usual)["text"] == 1
    assert find_columns("a.csv", columns, {"text": "#2"}, usual)["text"] == 1


@pytest.mark.parametrize(
    ("columns", "asked", "answer"),
    [
        (("id", "tweet"), {"text": "twet"}, "did you mean tweet"),
        (("text", "text"), {"text": "text"}, "--column text=#1 or --column text=#2"),
        (("a", "b"), {}, "--column image=NAME or --column text=NAME"),
        ((), {}, "holds no table"),
    ],
)
def test_a_mistake_is_answered_with_what_to_type(columns: tuple[str, ...], asked: dict[str, str], answer: str) -> None:
    with pytest.raises(ValueError, match=answer.replace("#", r"\#")):
        find_columns("a.csv", table(*columns), asked, {})


def test_a_table_without_a_header_is_named_by_position() -> None:
    with pytest.raises(ValueError, match=r"--column image=#1 --column text=#2"):
        find_columns("a.csv", table("a.jpg", "so happy today", header=False), {}, {})


def test_columns_that_may_be_meant_are_noted() -> None:
    posts = table("text", "photo", "mood", rows=(("so happy", "a.jpg", "joy"),))
    found = find_columns("a.csv", posts, {}, {})
    assert note_unread(posts, found, ("label",)) == [
        "no column is read as the image, though some name images: --column image=#2",
        "no column is read as the label; --column label=NAME takes one of: mood",
    ]
