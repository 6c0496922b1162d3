"""Text files of four lines a post."""

from __future__ import annotations

from pathlib import Path

from msa.features.posts.containers.aspects import is_post, read_aspects
from msa.features.posts.layouts import read_corpus

POST = ["RT @ x : $T$ lost ", "# Preds", "-1", "71.jpg"]
CELLS = {0: "RT @ x : $T$ lost", 1: "# Preds", 2: "-1", 3: "71.jpg"}


def test_four_lines_are_a_post() -> None:
    assert is_post(POST)
    assert not is_post(POST[:3])
    assert not is_post([*POST[:3], "no image"])
    assert read_aspects([*POST, *POST, ""], undecodable="?") == ([(1, CELLS), (5, CELLS)], [])


def test_a_lost_line_costs_one_post_and_is_reported() -> None:
    rows, problems = read_aspects([*POST, *POST[:2], POST[3], None, *POST, *POST[:3]], undecodable="?")
    assert [line for line, _ in rows] == [1, 9]
    assert [line for line, _ in problems] == [5, 6, 7, 8, 13, 14, 15]
    assert problems[3] == (8, "?")


def test_other_text_files_are_rows_of_cells(tmp_path: Path) -> None:
    (tmp_path / "posts.txt").write_text("id,text\n1,costs $T$\n")
    assert [post.text for post in read_corpus(tmp_path / "posts.txt").samples] == ["costs $T$"]
