"""Tables of posts: CSV, TSV, JSON lines, ImageFolder metadata and Hateful Memes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from msa.features.posts.layouts import ReadOptions, read_corpus


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_csv_with_bom_spaces_quoted_newlines_and_empty_cells(tmp_path: Path) -> None:
    table = (
        "\ufeff id , Image, text ,label,split,group\n"
        'a,img/1.JPG,"two\nlines, one cell",Joy,dev,u1\n'
        "b,,only text,Fear,train,\n"
        "c,img/1.jpg,,,test,u1\n"
    )
    root = write(tmp_path, {"posts.csv": table, "img/1.JPG": b""})
    corpus = read_corpus(root)
    a, b, c = corpus.samples
    assert (corpus.layout, corpus.root, corpus.problems) == ("table", root, [])
    assert (a.id, a.image, a.text, a.label, a.split, a.group) == (
        "a",
        root / "img/1.JPG",
        "two\nlines, one cell",
        "Joy",
        "val",
        "u1",
    )
    assert (b.image, b.text, b.group) == (None, "only text", None)
    assert (c.image, c.text, c.label, c.split) == (root / "img/1.JPG", None, None, "test")


def test_a_single_file_tsv_and_row_numbers_as_ids(tmp_path: Path) -> None:
    root = write(tmp_path, {"t.tsv": 'text\tlabel\n"a\tb"\tx\n\nc\ty\n', "other.csv": "text\nz\n"})
    corpus = read_corpus(root / "t.tsv")
    assert corpus.root == root
    assert [(s.id, s.text, s.label) for s in corpus.samples] == [("1", "a\tb", "x"), ("2", "c", "y")]


def test_json_lines_of_any_scalar_label(tmp_path: Path) -> None:
    records = [
        {"id": 1, "text": "a", "label": 0},
        {"id": 2, "text": "b", "label": True},
        {"id": 3, "text": None, "label": None, "image": "x.png", "extra": [1]},
    ]
    root = write(tmp_path, {"posts.jsonl": lines(*records) + 'broken\n[1]\n\n{"text": NaN, "id": 4}\n', "x.png": b""})
    corpus = read_corpus(root)
    assert [(s.id, s.text, s.label) for s in corpus.samples] == [
        ("1", "a", "0"),
        ("2", "b", "true"),
        ("3", None, None),
        ("4", None, None),
    ]
    assert [p.line for p in corpus.problems] == [4, 5, 7]
    assert "neither image nor text" in corpus.problems[-1].reason


def test_bad_rows_are_reported_with_their_first_line_and_the_rest_is_read(tmp_path: Path) -> None:
    table = (
        "id,image,text\n"
        "1,gone.jpg,a\n"
        "2,../out.jpg,a\n"
        "3,/abs.jpg,a\n"
        "4,too,many,fields\n"
        ',,"no\nid"\n'
        '6,,"ab"cd\n'
        "1,,twice\n"
        "7,,fine\n"
        '8,,"never closed\n9,,kept\n'
    )
    root = write(tmp_path / "t", {"posts.csv": table})
    write(tmp_path, {"out.jpg": b""})
    corpus = read_corpus(root)
    assert [(s.id, s.image, s.text) for s in corpus.samples] == [
        *((id, None, "a") for id in "123"),
        ("6", None, '"ab"cd'),
        ("7", None, "fine"),
        ("8", None, '"never closed'),
        ("9", None, "kept"),
    ]
    reasons = {p.line: p.reason for p in corpus.problems}
    assert sorted(reasons) == [2, 3, 4, 5, 6, 9]
    assert "does not exist" in reasons[2]
    assert "leads out of" in reasons[3]
    assert "leads out of" in reasons[4]
    assert "4 fields, but the header has 3" in reasons[5]
    assert reasons[6] == "the id is empty"
    assert "first one is kept" in reasons[9]
    assert corpus.notes[:1] == ["posts.csv: lines with a stray quote mark, read as they are: 2"]


def test_gb18030_tables_and_one_damaged_line_among_good_ones(tmp_path: Path) -> None:
    chinese = write(tmp_path / "gb", {"posts.csv": "id,text\n1,今天很开心\n2,不好\n".encode("gb18030")})
    assert [s.text for s in read_corpus(chinese).samples] == ["今天很开心", "不好"]
    raw = "id,text\n1,今天😀\n2,好\n".encode() + b"3,\xff\xff\n" + "4,天\n".encode()
    damaged = read_corpus(write(tmp_path / "cut", {"posts.csv": raw}))
    assert [s.text for s in damaged.samples] == ["今天😀", "好", "天"]
    assert [p.line for p in damaged.problems] == [4]


def test_column_names_are_configurable_and_wrong_ones_get_near_ones(tmp_path: Path) -> None:
    root = write(tmp_path, {"t.csv": "Tweet,feeling,pic\nhi,good,1.png\n", "1.png": b""})
    columns = {"text": "Tweet", "label": "feeling", "image": "pic"}
    (sample,) = read_corpus(root, options=ReadOptions(columns=columns)).samples
    assert (sample.text, sample.label, sample.image) == ("hi", "good", root / "1.png")
    with pytest.raises(ValueError, match="no column 'Twet' for text; did you mean Tweet"):
        read_corpus(root, options=ReadOptions(columns={"text": "Twet"}))
    with pytest.raises(ValueError, match="only Tweet, feeling, pic"):
        read_corpus(root)


def test_several_tables_need_a_choice_unless_one_is_called_posts(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.csv": "text\na\n", "b.tsv": "text\nb\n"})
    with pytest.raises(ValueError, match=r"several tables \(a\.csv, b\.tsv\)"):
        read_corpus(root)
    write(root, {"posts.jsonl": lines({"text": "p"})})
    assert [s.text for s in read_corpus(root).samples] == ["p"]


def test_an_empty_or_undecodable_table_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no table \(it is empty\)"):
        read_corpus(write(tmp_path, {"posts.csv": ""}))
    with pytest.raises(ValueError, match=r"holds no table \(line 1: neither UTF-8"):
        read_corpus(write(tmp_path, {"posts.csv": b"\xff\xff\n\xff\xff\n"}))


def test_imagefolder_in_split_folders(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "train/metadata.csv": "file_name,caption,label\n1.png,hello,2\nsub/2.png,again,0\n",
            "validation/metadata.jsonl": lines({"file_name": "1.png", "text": "val"}),
            "train/1.png": b"",
            "train/sub/2.png": b"",
            "validation/1.png": b"",
        },
    )
    corpus = read_corpus(root)
    assert corpus.layout == "imagefolder"
    assert [(s.id, s.split, s.text, s.label) for s in corpus.samples] == [
        ("train/1.png", "train", "hello", "2"),
        ("train/sub/2.png", "train", "again", "0"),
        ("validation/1.png", "val", "val", None),
    ]
    assert corpus.samples[1].image == root / "train/sub/2.png"


def test_imagefolder_with_one_metadata_file_takes_the_split_from_the_path(tmp_path: Path) -> None:
    table = "file_name,text\ntest/1.png,a\nloose.png,b\nabsent.png,c\n"
    root = write(tmp_path, {"metadata.csv": table, "test/1.png": b"", "loose.png": b""})
    corpus = read_corpus(root)
    assert [(s.id, s.split) for s in corpus.samples] == [
        ("test/1.png", "test"),
        ("loose.png", None),
        ("absent.png", None),
    ]
    assert [(p.file, p.line, p.reason) for p in corpus.problems] == [
        ("metadata.csv", 4, "image 'absent.png' does not exist")
    ]


def test_hateful_memes_files_are_splits(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "test.jsonl": lines({"id": 3, "img": "img/1.png", "text": "c"}),
            "dev_seen.jsonl": lines({"id": 2, "img": "img/1.png", "text": "b", "label": 0}),
            "train.jsonl": lines({"id": "01", "img": "img/1.png", "text": "a", "label": 1}),
            "img/1.png": b"",
        },
    )
    corpus = read_corpus(root)
    assert corpus.layout == "hateful-memes"
    assert [(s.id, s.label, s.split) for s in corpus.samples] == [
        ("01", "1", "train"),
        ("2", "0", "val"),
        ("3", None, "test"),
    ]
    assert all(s.image == root / "img/1.png" for s in corpus.samples)
    assert read_corpus(root / "train.jsonl").layout == "hateful-memes"


def test_texts_in_files_that_a_table_names(tmp_path: Path) -> None:
    table = "text,label\ntexts/1.txt,x\n texts/2.TXT ,y\ntexts/3.txt,y\nsee notes.txt,y\n"
    root = write(tmp_path, {"posts.csv": table, "texts/1.txt": "one", "texts/2.txt": "two", "notes.txt": "no"})
    corpus = read_corpus(root)
    assert [s.text for s in corpus.samples] == [
        root / "texts/1.txt",
        root / "texts/2.txt",
        "texts/3.txt",
        "see notes.txt",
    ]
    assert "texts read from the files that their cells name: 2" in corpus.notes
    assert "texts that are the name of a file, which does not exist: 1 ('texts/3.txt': 1)" in corpus.notes


def test_tables_that_are_not_read_are_named(tmp_path: Path) -> None:
    root = write(tmp_path, {"train.csv": "text\na\n", "test.json": '[{"text": "b"}]', "~$a.xlsx": "", "x.txt": "text"})
    assert read_corpus(root).notes == ["not read beside train.csv: test.json"]
    root = write(tmp_path, {"posts.csv": "text\nc\n"})
    assert read_corpus(root).notes == ["not read beside posts.csv: test.json, train.csv"]
    assert read_corpus(root / "train.csv").notes == []


def test_a_text_file_is_a_table_when_it_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, {"tweets.txt": "text\tlabel\nso, so\tx\n"})
    (sample,) = read_corpus(root / "tweets.txt").samples
    assert (sample.text, sample.label) == ("so, so", "x")


def test_images_named_by_id_are_pointed_out_and_the_options_read_them(tmp_path: Path) -> None:
    root = write(tmp_path, {"posts.csv": "tid,text\n007,a\n8,b\n", "my pictures/007.png": "", "my pictures/8.jpg": ""})
    columns = {"id": "tid"}
    (note,) = read_corpus(root, options=ReadOptions(columns=columns)).notes
    options = shlex.split(note.partition(": ")[2])
    assert options == ["--column", "image=tid", "--images", str(root / "my pictures")]
    found = read_corpus(root, options=ReadOptions(columns=columns | {"image": "tid"}, images=Path(options[3])))
    assert [s.image and s.image.name for s in found.samples] == ["007.png", "8.jpg"]
    write(tmp_path, {"empty/x.txt": ""})
    (note,) = read_corpus(root, options=ReadOptions(columns=columns, images=root / "empty")).notes
    assert note == "no column is read as the image, so that --images is not used; --column image=NAME names it"


def test_lines_above_the_header_have_a_remedy(tmp_path: Path) -> None:
    root = write(tmp_path, {"posts.csv": "exported by x\nid,text,label\n1,a,x\n"})
    with pytest.raises(ValueError, match=r"only exported by x; name them with .*; or remove lines above its header"):
        read_corpus(root)
    write(tmp_path, {"posts.csv": '"SEP=;"\r\ntext;label\r\na,b;x\r\n'})
    assert [s.text for s in read_corpus(root).samples] == ["a,b"]


def test_images_of_an_imagefolder_that_no_metadata_names_are_counted(tmp_path: Path) -> None:
    metadata = "file_name,text\n1.jpg,a\nsub/2.jpg,b\n"
    images: dict[str, str | bytes] = {
        f"train/{name}": b"" for name in ("1.jpg", "sub/2.jpg", "3.jpg", "4.PNG", "5.txt")
    }
    root = write(tmp_path, {"train/metadata.csv": metadata, **images})
    assert read_corpus(root).notes == ["2 images are in no metadata file and are left out"]


def test_tables_beside_memes_are_named(tmp_path: Path) -> None:
    files = {
        "train.jsonl": lines({"id": 1, "img": "1.png"}),
        "extra.jsonl": lines({"id": 2, "img": "1.png"}),
        "1.png": "",
    }
    assert read_corpus(write(tmp_path, {**files})).notes == ["not read beside train.jsonl: extra.jsonl"]
