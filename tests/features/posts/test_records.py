"""Tables of records: JSON in its usual shapes, and Parquet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus

POSTS = [{"id": "a", "text": "good", "label": "pos"}, {"id": "b", "text": "bad", "label": "neg"}]


def read(tmp_path: Path, name: str, text: str) -> Corpus:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_corpus(tmp_path / name)


def posts(corpus: Corpus) -> list[tuple[str, object, str | None]]:
    return [(sample.id, sample.text, sample.label) for sample in corpus.samples]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(POSTS),
        json.dumps(POSTS, indent=1),
        "\n".join(json.dumps(post, indent=2) for post in POSTS),
        "\n".join(map(json.dumps, POSTS)),
        json.dumps({"version": 2, "data": POSTS}),
        json.dumps({"a": {"text": "good", "label": "pos"}, "b": {"text": "bad", "label": "neg"}}),
        json.dumps({"id": ["a", "b"], "text": ["good", "bad"], "label": ["pos", "neg"]}),
        json.dumps({"id": {"0": "a", "1": "b"}, "text": {"0": "good", "1": "bad"}, "label": {"0": "pos", "1": "neg"}}),
    ],
    ids=["array", "indented", "objects", "lines", "under a key", "by id", "columns", "pandas"],
)
def test_json_in_its_usual_shapes(tmp_path: Path, suffix: str, text: str) -> None:
    corpus = read(tmp_path, f"p{suffix}", text)
    assert posts(corpus) == [("a", "good", "pos"), ("b", "bad", "neg")]
    assert corpus.problems == []


def test_one_document_with_a_list_for_each_split(tmp_path: Path) -> None:
    corpus = read(tmp_path, "p.json", json.dumps({"train": POSTS[:1], "validation": POSTS[1:]}))
    assert [(sample.id, sample.split) for sample in corpus.samples] == [("a", "train"), ("b", "val")]


def test_items_of_an_array_that_are_no_posts_are_reported_at_their_line(tmp_path: Path) -> None:
    corpus = read(tmp_path, "p.json", '[\n{"text": "a"},\n17,\n{"text": "b",\n "text": "c"}\n]')
    assert [sample.text for sample in corpus.samples] == ["a"]
    assert [problem.line for problem in corpus.problems] == [3, 4]
    assert "'text' occurs several times" in corpus.problems[1].reason


def test_a_damaged_document_says_where(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither one JSON object a line nor one JSON array \(line 3: Expecting"):
        read(tmp_path, "p.json", '[\n{"text": "a"},\n{"text": oh}\n]')


def test_damaged_json_lines_cost_their_line_only(tmp_path: Path) -> None:
    corpus = read(tmp_path, "p.jsonl", '{"text": "a"}\n{"text": \n[{"text": "b"}]\n{"text": "c"}\n')
    assert [sample.text for sample in corpus.samples] == ["a", "c"]
    assert [problem.line for problem in corpus.problems] == [2, 3]


def test_lists_and_objects_in_cells_are_read_or_reported(tmp_path: Path) -> None:
    records = [
        {"id": 1, "text": ["so", "cold", 1], "label": ["neg"]},
        {"id": 2, "text": "x", "label": [0, 0, 0]},
        {"id": 3, "text": "x", "label": ["a", "b"]},
        {"id": 4, "text": [5, 6], "label": []},
        {"id": 5, "text": "x", "label": {"name": "a"}},
        {"id": [6, 7], "text": "x"},
    ]
    corpus = read(tmp_path, "p.jsonl", "\n".join(map(json.dumps, records)))
    assert posts(corpus) == [
        ("1", "so cold 1", "neg"),
        ("2", "x", "0"),
        ("3", "x", None),
        ("4", None, None),
        ("5", "x", None),
    ]
    assert corpus.notes == [
        "texts that are lists of words, joined by spaces: 1",
        "labels that are lists of one value: 2",
    ]
    reasons = {problem.line: problem.reason for problem in corpus.problems if "neither" not in problem.reason}
    assert sorted(reasons) == [3, 4, 5, 6]
    assert "2 different values: ['a', 'b']" in reasons[3]
    assert "list without words" in reasons[4]
    assert "an object" in reasons[5]
    assert "the id is a list" in reasons[6]


def test_half_a_surrogate_pair_is_reported_and_costs_the_cell(tmp_path: Path) -> None:
    records = [{"id": "a", "text": "x", "label": "a\ud83d"}, {"id": "b\ud83d", "text": "x", "label": "a"}]
    corpus = read(tmp_path, "p.jsonl", "\n".join(map(json.dumps, records)))
    assert posts(corpus) == [("a", "x", None)]
    assert [(problem.line, "surrogate" in problem.reason) for problem in corpus.problems] == [(1, True), (2, True)]
    "\n".join(map(str, corpus.problems)).encode()


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.Table.from_pylist([{"text": "good", "label": 1.0}, {"text": "bad", "label": None}])
    parquet.write_table(table, tmp_path / "posts.parquet")
    assert posts(read_corpus(tmp_path)) == [("1", "good", "1.0"), ("2", "bad", None)]
    (tmp_path / "posts.parquet").write_bytes(b"PAR1 not quite")
    with pytest.raises(ValueError, match=r"cannot read .*posts\.parquet: .*; write the file again"):
        read_corpus(tmp_path)


@pytest.mark.parametrize("name", ["posts.xlsx", "p.XLS", "p.ods"])
def test_a_spreadsheet_is_to_be_saved_as_csv(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(ValueError, match="is a spreadsheet; save its sheet as CSV"):
            read_corpus(path)


def test_a_stray_json_file_or_spreadsheet_beside_a_table_is_none(tmp_path: Path) -> None:
    (tmp_path / "info.json").write_text("{}")
    (tmp_path / "old.xlsx").write_text("")
    (tmp_path / ".hidden.csv").write_text("")
    assert posts(read(tmp_path, "p.csv", "id,text,label\na,good,pos\n")) == [("a", "good", "pos")]
    assert posts(read_corpus(tmp_path)) == [("a", "good", "pos")]
