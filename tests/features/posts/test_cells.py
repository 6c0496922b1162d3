"""Cells: missing values, labels in several spellings, splits by other names, several images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from msa.features.posts.cells import known_split
from msa.features.posts.layouts import ReadOptions, read_corpus
from msa.features.posts.samples import Corpus


def read(tmp_path: Path, table: str, **columns: str) -> Corpus:
    (tmp_path / "posts.csv").write_text(table, encoding="utf-8")
    return read_corpus(tmp_path, options=ReadOptions(columns=columns))


@pytest.mark.parametrize(
    ("name", "split"), [("dev", "val"), ("test_seen", "test"), ("Train", "train"), ("valid-1", "val"), ("exam", "exam")]
)
def test_split_names_are_brought_to_one_spelling(name: str, split: str) -> None:
    assert (known_split(name) or name) == split


def test_a_split_is_known_by_one_word_of_its_name() -> None:
    names = [
        "mvsa_train",
        "validation-00000-of-00002",
        "TESTING",
        "val2017",
        "train_test",
        "latest",
        "trainval",
        "0",
        "",
    ]
    assert [known_split(name) for name in names] == ["train", "val", "test", "val", None, None, None, None, None]


def test_words_for_no_value_are_no_label_and_counted(tmp_path: Path) -> None:
    words = ["nan", "NaN", "None", "null", "N/A", "<NA>", "#N/A", "", "\\N"]
    rows = "".join(f"t,{word},{word},{word}\n" for word in words)
    corpus = read(tmp_path, f"text,label,group,split\n{rows}t,Nancy,g,train\n")
    assert [(s.label, s.group, s.split) for s in corpus.samples] == [(None, None, None)] * 9 + [("Nancy", "g", "train")]
    assert corpus.notes[0].startswith("labels read as missing; rename one that is a class: 8 ('nan': 1, 'NaN': 1")
    assert len(corpus.notes) == 3
    assert corpus.problems == []


def test_words_for_no_value_stay_texts_and_ids(tmp_path: Path) -> None:
    (sample,) = read(tmp_path, "id,text\nNA,none\n").samples
    assert (sample.id, sample.text) == ("NA", "none")


def test_missing_labels_of_the_course_layout(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for id in "123":
        (tmp_path / "data" / f"{id}.txt").write_text("t")
    (tmp_path / "train.txt").write_text("guid,tag\n1,null\n2,nan\n3,sad\n")
    corpus = read_corpus(tmp_path)
    assert [sample.label for sample in corpus.samples] == [None, None, "sad"]
    assert corpus.notes == ["labels read as missing; rename one that is a class: 1 ('nan': 1)"]


def test_spellings_of_one_label_are_one_class_by_the_most_frequent_one(tmp_path: Path) -> None:
    corpus = read(tmp_path, "text,label\na,sehr gut\nb,Sehr  Gut\nc,sehr gut\nd,1\ne,1.0\nf,10\ng,1.5\n")
    assert [s.label for s in corpus.samples] == ["sehr gut", "sehr gut", "sehr gut", "1", "1", "10", "1.5"]
    assert corpus.notes == [
        "labels that differ only in case, spaces or .0, read as one: 2 ('Sehr  Gut' as 'sehr gut': 1, '1.0' as '1': 1)"
    ]
    healthy = read(tmp_path, "text,label\na,Positive\nb,negative\nc,1.0\n")
    assert ([s.label for s in healthy.samples], healthy.notes) == (["Positive", "negative", "1.0"], [])


def test_other_names_of_splits_are_counted_and_unknown_ones_reported_once(tmp_path: Path) -> None:
    corpus = read(tmp_path, "text,split\na,Train\nb,training\nc,dev\nd,dev\ne,0\nf,private\ng,0\nh,\n")
    assert [s.split for s in corpus.samples] == ["train", "train", "val", "val", "0", "private", "0", None]
    assert corpus.notes == ["splits by another name: 3 ('dev' as val: 2, 'training' as train: 1)"]
    (problem,) = corpus.problems
    assert problem.line == 6
    assert "'0' (2 posts), 'private' (1 posts)" in problem.reason
    assert "train, val, test" in problem.reason


def test_several_images_in_a_cell_are_used_and_counted(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c, d.jpg"):
        (tmp_path / name).write_bytes(b"")
    cells = ["a.jpg;b.jpg", '"a.jpg, b.jpg"', "\"['a.jpg', 'b.jpg']\"", '"[""b.jpg""]"', '"c, d.jpg"', "a.jpg"]
    corpus = read(tmp_path, "image\n" + "\n".join(cells))
    assert [s.image and s.image.name for s in corpus.samples] == [*["a.jpg"] * 3, "b.jpg", "c, d.jpg", "a.jpg"]
    assert [[file.name for file in s.images] for s in corpus.samples[:3]] == [["a.jpg", "b.jpg"]] * 3  # type: ignore[union-attr]
    assert corpus.notes == ["posts with several images: 3, with 3 images beyond the first"]
    assert corpus.problems == []
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": 7, "image": ["b.jpg", "a.jpg"]}))
    listed = read_corpus(tmp_path / "p.jsonl")
    assert (listed.samples[0].images, len(listed.notes)) == ((tmp_path / "b.jpg", tmp_path / "a.jpg"), 1)


def test_a_list_of_one_label_in_a_cell_is_that_label(tmp_path: Path) -> None:
    corpus = read(tmp_path, "text,label\na,['sad']\nb,\"['sad', 'glad']\"\nc,[sic]\n")
    assert [s.label for s in corpus.samples] == ["sad", None, "[sic]"]
    assert [problem.line for problem in corpus.problems] == [3]


def test_columns_by_position_and_two_of_one_name(tmp_path: Path) -> None:
    table = "text,words,words\na,b,c\n"
    with pytest.raises(ValueError, match=r"several columns called 'words'.*--column label=#2 or --column label=#3"):
        read(tmp_path, table, label="words")
    assert read(tmp_path, table, label="#3").samples[0].label == "c"
    assert read(tmp_path, table).samples[0].text == "a"
    with pytest.raises(ValueError, match="several columns called 'text'"):
        read(tmp_path, "text,text\na,b\n")
    assert read(tmp_path, "Text,text\na,b\n").samples[0].text == "b"
    with pytest.raises(ValueError, match="no column '#4' for label"):
        read(tmp_path, table, label="#4")
    assert read(tmp_path, "text,#1\na,b\n", label="#1").samples[0].label == "b"


def test_the_remedy_for_a_table_without_a_header_works(tmp_path: Path) -> None:
    table = "a.jpg,so cold,neg\na.jpg,so warm,pos\n"
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="has no header line") as error:
        read(tmp_path, table)
    assert "--column image=#1 --column text=#2," in str(error.value)
    corpus = read(tmp_path, table, image="#1", text="#2", label="#3")
    assert [(s.text, s.label) for s in corpus.samples] == [("so cold", "neg"), ("so warm", "pos")]
    assert corpus.notes == ["posts.csv: no header line; the first line is a post"]


def test_labels_that_differ_in_what_is_invisible_are_one_class(tmp_path: Path) -> None:
    corpus = read(tmp_path, "text,label\na,sad\nb,\ufeffsad\nc,sa\u200bd\nd,sad\ne,sad\0\n")
    assert corpus.labels == ["sad"]
    assert "read as one: 3" in corpus.notes[0]


def test_errors_of_spreadsheets_are_no_labels_and_counted_among_texts(tmp_path: Path) -> None:
    corpus = read(tmp_path, "text,label\n#NAME?,p\nnan,p\nfine,#REF!\n")
    assert [sample.label for sample in corpus.samples] == ["p", "p", None]
    assert corpus.notes == [
        "texts that stand for no value, used as they are; empty those cells if none is meant: "
        "2 ('#NAME?': 1, 'nan': 1)",
        "labels read as missing; rename one that is a class: 1 ('#REF!': 1)",
    ]


def test_labels_that_list_several_others_are_counted(tmp_path: Path) -> None:
    corpus = read(tmp_path, 'text,label\na,joy\nb,"Joy, sad"\nc,sad\nd,sad|joy\ne,"well, joy"\n')
    assert corpus.notes == [
        "labels that list several others: 2 ('Joy, sad': 1, 'sad|joy': 1); "
        "each such list is a class; give each label a column, see --column label=NAME, or --drop-label lists"
    ]
