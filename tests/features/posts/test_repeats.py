"""Several tables of one data set, and ids that occur several times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from msa.features.posts.layouts import ReadOptions, read_corpus
from msa.features.posts.samples import Corpus


def read(tmp_path: Path, files: dict[str, str], **columns: str) -> Corpus:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return read_corpus(tmp_path, options=ReadOptions(columns=columns))


def rows(corpus: Corpus) -> list[tuple[str, str | None, str | None]]:
    return [(sample.id, sample.label, sample.split) for sample in corpus.samples]


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_tables_of_splits_are_one_corpus(tmp_path: Path) -> None:
    header = "id,text,label\n"
    files = {"test.csv": header + "c,z,n\n", "mvsa_train.csv": header + "a,x,p\n", "dev.tsv": "id\ttext\nb\ty\n"}
    corpus = read(tmp_path, files)
    assert rows(corpus) == [("a", "p", "train"), ("b", None, "val"), ("c", "n", "test")]
    assert (corpus.notes, corpus.problems) == ([], [])
    corpus = read(tmp_path, {"sample_submission.csv": "id,label\nc,p\n"})
    assert len(corpus.samples) == 3
    assert corpus.notes == ["left out, as their names tell no split: sample_submission.csv"]


def test_a_split_cell_has_precedence_over_the_name_of_the_file(tmp_path: Path) -> None:
    corpus = read(tmp_path, {"train.csv": "id,text,split\na,x,val\nb,y,\n", "test.csv": "id,text\nc,z\n"})
    assert [sample.split for sample in corpus.samples] == ["val", "train", "test"]


def test_several_tables_of_one_split_need_a_choice(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"several tables \(train\.csv, train_clean\.csv\)"):
        read(tmp_path, {"train.csv": "text\na\n", "train_clean.csv": "text\na\n"})


def test_a_column_may_be_in_some_of_the_tables_only(tmp_path: Path) -> None:
    files = {"train.csv": "id,text,mood\na,x,sad\n", "test.csv": "id,text\nb,y\n"}
    assert rows(read(tmp_path, files, label="mood")) == [("a", "sad", "train"), ("b", None, "test")]
    with pytest.raises(ValueError, match=r"train\.csv has no column 'moods'"):
        read(tmp_path, files, label="moods")


def test_ids_that_begin_again_in_each_file_are_told_apart(tmp_path: Path) -> None:
    files = {"train.csv": "id,text\n1,a\n2,b\n3,e\n", "test.csv": "id,text\n1,c\n2,d\n3,e\n"}
    corpus = read(tmp_path, files)
    assert [s.id for s in corpus.samples] == [f"{split}/{n}" for split in ("train", "test") for n in (1, 2, 3)]
    assert corpus.notes == ["ids begin again in each file, and are read as FILE/ID: 6"]
    assert corpus.problems == []


def test_tables_without_an_id_number_their_rows_by_file(tmp_path: Path) -> None:
    corpus = read(tmp_path, {"train.csv": "text\na\n", "test.csv": "text\na\n"})
    assert ([s.id for s in corpus.samples], corpus.notes) == (["train/1", "test/1"], [])


def test_of_a_post_in_two_files_the_labelled_row_is_used_and_counted(tmp_path: Path) -> None:
    posts = [{"id": n, "img": f"{n}.png", "text": f"text {n}"} for n in range(4)]
    for post in posts:
        (tmp_path / str(post["img"])).write_bytes(b"")
    files = {
        "train.jsonl": lines(posts[0] | {"label": 1}),
        "test.jsonl": lines(*posts[1:]),
        "test_seen.jsonl": lines(*(post | {"label": 0} for post in posts[1:3])),
        "dev_seen.jsonl": lines(posts[0] | {"label": 0}),
    }
    corpus = read(tmp_path, files)
    assert corpus.layout == "hateful-memes"
    assert rows(corpus) == [("0", "1", "train"), ("1", "0", "test"), ("2", "0", "test"), ("3", None, "test")]
    assert corpus.notes == ["posts in two files, read as one with its label: 2 (test.jsonl and test_seen.jsonl: 2)"]
    assert [str(problem) for problem in corpus.problems] == [
        "dev_seen.jsonl:1: id '0' is already in train.jsonl:1; the first one is kept"
    ]


def test_labels_in_a_table_of_their_own_join_the_posts_of_another(tmp_path: Path) -> None:
    header = "id,text,label\n"
    files = {
        "train.csv": header + "a,x,p\n",
        "test.csv": "id,text\nb,y\nc,z\n",
        "test_labels.csv": "id,label\nc,n\nb,p\n",
    }
    corpus = read(tmp_path, files)
    assert rows(corpus) == [("a", "p", "train"), ("b", "p", "test"), ("c", "n", "test")]
    assert [sample.text for sample in corpus.samples] == ["x", "y", "z"]
    assert corpus.problems == []


def test_a_column_of_images_by_another_name_is_pointed_out(tmp_path: Path) -> None:
    table = "id,text,picture\na,x,1.jpg\nb,y,1.jpg\n"
    (tmp_path / "1.jpg").write_bytes(b"")
    assert read(tmp_path, {"posts.csv": table}).notes == [
        "posts.csv: no column is read as the image, though some name images: --column image=#3"
    ]
    assert read(tmp_path, {"posts.csv": table}, image="#3").notes == []
    assert "image" not in str(read(tmp_path, {"posts.csv": table.replace(".jpg", "")}).notes)


def test_of_a_repeated_id_in_one_table_the_first_with_a_label_is_kept_and_the_other_reported(tmp_path: Path) -> None:
    corpus = read(tmp_path, {"posts.csv": "id,text,label\na,x,\na,y,p\na,z,n\nb,w,n\n"})
    assert rows(corpus) == [("a", "p", None), ("b", "n", None)]
    assert [str(problem) for problem in corpus.problems] == [
        "posts.csv:3: id 'a' is already in posts.csv:2; the labelled one is kept",
        "posts.csv:4: id 'a' is already in posts.csv:3; the first one is kept",
    ]


def test_columns_among_which_the_label_or_the_text_may_be_are_named(tmp_path: Path) -> None:
    unlabelled = read(tmp_path, {"posts.csv": ",text,Sentiment,empty\n0,a,pos,\n1,b,neg,\n"})
    assert unlabelled.notes == [
        "posts.csv: no column is read as the label; --column label=NAME takes one of: Sentiment"
    ]
    assert read(tmp_path, {"posts.csv": "id,text,Unnamed: 0\n1,a,0\n"}).notes == []


def test_a_test_table_without_labels_and_one_with_another_name_of_the_text(tmp_path: Path) -> None:
    files = {"train.csv": "id,text,label\n1,a,x\n", "test.csv": "id,Tweet,user\n2,b,u\n"}
    (tmp_path / "train.csv").write_text(files["train.csv"], encoding="utf-8")
    with pytest.raises(ValueError, match="name them with --column"):
        read(tmp_path, files)
    corpus = read(tmp_path, files, text="Tweet")
    assert [sample.text for sample in corpus.samples] == ["a", "b"]
    assert corpus.notes == []


def test_two_columns_that_differ_in_case_need_a_choice(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--column text=#1 or --column text=#3"):
        read(tmp_path, {"posts.csv": "TEXT,label,Text\na,x,b\n"})


def test_images_that_several_tables_lack_are_one_note(tmp_path: Path) -> None:
    files = {"train.csv": "image,text\nx/1.jpg,a\n", "test.csv": "image,text\nx/2.jpg,b\n"}
    (note,) = read(tmp_path, files).notes
    assert note.startswith("2 images not found")


def test_a_table_without_rows_is_noted(tmp_path: Path) -> None:
    files = {"train.csv": "text,label\na,x\n", "val.csv": "text,label\n", "test.csv": "text,label\na\n"}
    notes = ["val.csv: no rows below the header", "test.csv: no row could be read"]
    assert read(tmp_path, files).notes == notes
