"""Folders of posts: course, MVSA and ID-label; detection; names that leave the folder."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msa.features.posts.labels import POLARITIES, NoLabelError, combine
from msa.features.posts.layouts import LAYOUTS, ReadOptions, read_corpus

REAL = Path(__file__).parents[4] / "shared" / "data" / "mvsa"


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def pairs(*ids: str) -> dict[str, str | bytes]:
    return {f"data/{id}{suffix}": id for id in ids for suffix in (".jpg", ".txt")}


def test_course_keeps_the_order_of_its_files_and_null_is_no_label(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            **pairs("1", "2", "3", "4"),
            "train.txt": "guid,tag\n3,Negative\n1,positive\n4,\n",
            "test_without_label.txt": "guid,tag\n2,null\n",
        },
    )
    corpus = read_corpus(root)
    assert (corpus.layout, corpus.root) == ("course", root)
    assert [(s.id, s.label) for s in corpus.samples] == [("3", "Negative"), ("1", "positive"), ("4", None), ("2", None)]
    assert (corpus.samples[0].image, corpus.samples[0].text) == (root / "data/3.jpg", root / "data/3.txt")
    assert (corpus.problems, corpus.notes, corpus.labels) == ([], [], ["Negative", "positive"])


def test_course_tolerates_bom_crlf_blank_lines_spaces_and_no_header(tmp_path: Path) -> None:
    raw = b"\xef\xbb\xbf 1 , positive \r\n\r\n2,neutral\r\n  \r\n"
    root = write(tmp_path, {**pairs("1", "2"), "train.txt": raw})
    corpus = read_corpus(root)
    assert [(s.id, s.label) for s in corpus.samples] == [("1", "positive"), ("2", "neutral")]
    assert corpus.problems == []


def test_course_reports_malformed_repeated_and_undecodable_lines_with_their_number(tmp_path: Path) -> None:
    raw = "guid,tag\n1,positive\nnonsense\n1,negative\n,neutral\n2,a,b\n三,中\n四,中\n".encode() + b"\xff\xff,x\n"
    root = write(tmp_path, {**pairs("1"), "train.txt": raw})
    corpus = read_corpus(root)
    assert [s.id for s in corpus.samples] == ["1", "三", "四"]
    assert corpus.samples[0].label == "positive"
    lines = [(p.line, p.reason) for p in corpus.problems]
    assert [line for line, _ in lines] == [3, 4, 5, 6, 7, 8, 9]
    assert "'nonsense' is not" in lines[0][1]
    assert "already in train.txt:2" in lines[1][1]
    assert "neither image nor text" in lines[4][1]
    assert "UTF-8" in lines[6][1]
    assert str(corpus.problems[0]).startswith("train.txt:3: ")


def test_files_join_by_stem_with_any_extension_case_several_dots_and_subfolders(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "data/1.JPG": b"",
            "data/1.TXT": "a",
            "data/a.b.jpeg": b"",
            "data/a.txt": "of a, not of a.b",
            "data/x/1.WebP": b"",
            "data/9.jpg/in-a-folder": b"",
            "data/loner.png": b"",
            "train.txt": "1,p\na.b,p\nx/1,p\n9,n\n",
        },
    )
    corpus = read_corpus(root)
    names = [(s.image and s.image.relative_to(root).as_posix(), s.text and Path(s.text).name) for s in corpus.samples]
    assert names == [("data/1.JPG", "1.TXT"), ("data/a.b.jpeg", None), ("data/x/1.WebP", None), (None, None)]
    assert [p.reason for p in corpus.problems] == ["post '9' has neither image nor text"]
    assert corpus.notes == ["2 posts in data/ are in no label file and are left out"]


def test_two_images_of_one_id_are_reported_and_the_choice_is_fixed(tmp_path: Path) -> None:
    root = write(tmp_path, {"data/1.png": b"", "data/1.JPG": b"", "data/1.jpg": b"", "train.txt": "1,p\n"})
    corpus = read_corpus(root)
    assert corpus.samples[0].image == root / "data/1.JPG"
    assert [p.reason for p in corpus.problems] == ["post '1' has several files: 1.JPG is used, not 1.jpg, 1.png"]


@pytest.mark.parametrize("id", ["../secret", "/etc/passwd", "x/../../secret", "..\\secret", "C:\\secret", "x/.."])
def test_ids_that_leave_the_folder_are_refused(tmp_path: Path, id: str) -> None:
    root = write(tmp_path / "posts", {**pairs("1"), "train.txt": f"{id},p\n1,n\n"})
    write(tmp_path, {"posts/secret.txt": "s", "secret.txt": "s"})
    corpus = read_corpus(root)
    assert [s.id for s in corpus.samples] == ["1"]
    assert [(p.file, p.line) for p in corpus.problems] == [("train.txt", 1)]
    assert corpus.problems[0].reason.startswith("id refused: ")


SINGLE = "ID\ttext,image\n1\tpositive,positive\n2\tneutral,negative\n3\tpositive,negative\n4\tpositive,neutral\n"


@pytest.mark.parametrize(
    ("rule", "labels", "note"),
    [
        (
            "paper",
            {"1": "positive", "2": "negative", "4": "positive"},
            "label rule paper: kept 3, dropped 1 (contradictory)",
        ),
        (
            "text",
            {"1": "positive", "2": "neutral", "3": "positive", "4": "positive"},
            "label rule text: kept 4, dropped 0",
        ),
        (
            "image",
            {"1": "positive", "2": "negative", "3": "negative", "4": "neutral"},
            "label rule image: kept 4, dropped 0",
        ),
        ("agree", {"1": "positive"}, "label rule agree: kept 1, dropped 3 (text and image differ)"),
    ],
)
def test_mvsa_single_rules(tmp_path: Path, rule: str, labels: dict[str, str], note: str) -> None:
    root = write(tmp_path, {**pairs("1", "2", "3", "4"), "labelResultAll.txt": SINGLE})
    corpus = read_corpus(root, options=ReadOptions(label_rule=rule))  # type: ignore[arg-type]
    assert corpus.layout == "mvsa"
    assert {s.id: s.label for s in corpus.samples} == labels
    assert (corpus.notes, corpus.problems) == ([note], [])


def test_mvsa_multiple_takes_each_modalitys_majority_first(tmp_path: Path) -> None:
    rows = [
        "ID\ttext,image\ttext,image\ttext,image",
        "1\tpositive,neutral\tpositive,neutral\tnegative,negative",
        "2\tpositive,neutral\tneutral,neutral\tnegative,neutral",
        "3\tpositive,negative\tpositive,negative\tneutral,positive",
        "4\tPositive , neutral\tpositive,positive\tneutral,positive",
        "5\tpositive,happy\tpositive,neutral\tpositive,neutral",
    ]
    root = write(tmp_path, {**pairs("1", "2", "3", "4", "5"), "labelResultAll.txt": "\r\n".join(rows)})
    corpus = read_corpus(root)
    assert [(s.id, s.label) for s in corpus.samples] == [("1", "positive"), ("4", "positive")]
    assert "kept 2, dropped 2 (1 without a majority, 1 contradictory)" in corpus.notes[0]
    assert [(p.file, p.line) for p in corpus.problems] == [("labelResultAll.txt", 6)]


@given(st.lists(st.tuples(st.sampled_from(POLARITIES), st.sampled_from(POLARITIES)), min_size=1, max_size=5))
def test_the_paper_rule_extends_agreement_and_never_flips_polarity(annotated: list[tuple[str, str]]) -> None:
    text, image = [t for t, _ in annotated], [i for _, i in annotated]

    def label(rule: str) -> str | None:
        try:
            return combine(text, image, rule=rule)  # type: ignore[arg-type]
        except NoLabelError:
            return None

    if label("agree") is not None:
        assert label("paper") == label("agree") == label("text") == label("image")
    if {label("text"), label("image")} == {"positive", "negative"}:
        assert label("paper") is None
    if label("paper") is not None:
        assert label("paper") in {label("text"), label("image")}


def test_id_label_keeps_labels_as_spelled(tmp_path: Path) -> None:
    root = write(tmp_path, {**pairs("1", "2"), "ID-label.txt": "ID,label\n1,0\n2,2\n"})
    corpus = read_corpus(root)
    assert (corpus.layout, [s.label for s in corpus.samples]) == ("id-label", ["0", "2"])


def test_errors_name_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        read_corpus(tmp_path / "absent")
    with pytest.raises(ValueError, match="unknown layout 'cource'; did you mean course"):
        read_corpus(tmp_path, layout="cource")
    with pytest.raises(ValueError, match=r"layout 'mvsa' needs data/ beside labelResultAll\.txt"):
        read_corpus(tmp_path, layout="mvsa")
    with pytest.raises(ValueError, match="no posts found") as error:
        read_corpus(tmp_path)
    assert all(f"({name})" in str(error.value) for name in LAYOUTS)
    with pytest.raises(ValueError, match="unknown label rule 'peper'"):
        ReadOptions(label_rule="peper")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown column 'img'"):
        ReadOptions(columns={"img": "picture"})


def test_a_named_layout_wins_over_what_would_be_detected(tmp_path: Path) -> None:
    root = write(tmp_path, {**pairs("1"), "train.txt": "1,p\n", "posts.csv": "text\nhello\n"})
    assert read_corpus(root).layout == "course"
    assert [s.text for s in read_corpus(root, layout="table").samples] == ["hello"]


@pytest.mark.skipif(not REAL.is_dir(), reason="the course data is not here")
def test_the_course_data_is_read_whole_and_quickly() -> None:
    started = time.process_time()
    corpus = read_corpus(REAL)
    assert time.process_time() - started < 2.0
    assert (len(corpus.samples), len(corpus.problems)) == (4511, 0)
    assert sum(s.label is None for s in corpus.samples) == 511


@pytest.mark.parametrize("separator", ["\t", ";", ","])
def test_label_files_with_other_separators_quotes_and_headers_in_between(tmp_path: Path, separator: str) -> None:
    rows = (("guid", "tag"), ("1", "happy"), ('"2"', '"sad"'), ("guid", "tag"), ("3", "sad"))
    root = write(tmp_path, {**pairs("1", "2", "3"), "train.txt": "\n".join(map(separator.join, rows))})
    corpus = read_corpus(root)
    assert [(s.id, s.label, s.image) for s in corpus.samples] == [
        (id, label, root / f"data/{id}.jpg") for id, label in (("1", "happy"), ("2", "sad"), ("3", "sad"))
    ]
    assert corpus.problems == []
    assert "lines that repeat the header, left out: 1 (train.txt: 1)" in corpus.notes
    assert any("in place of the comma: 3" in note for note in corpus.notes) == (separator != ",")


def test_posts_in_a_sub_folder_and_files_that_are_no_table_have_a_remedy(tmp_path: Path) -> None:
    root = write(tmp_path, {**pairs("a/1"), "a/data/1.txt": "x", "train.csv.gz": b"\x1f\x8b", "__MACOSX/b.csv": "x"})
    write(tmp_path / "a", {**pairs("1"), "train.txt": "1,x\n"})
    with pytest.raises(ValueError, match=r"no posts found in .*; did you mean '[^']*a'\?"):
        read_corpus(root)
    with pytest.raises(ValueError, match=r"is no table; .* unpack archives first"):
        read_corpus(root / "train.csv.gz")
    with pytest.raises(ValueError, match=r"holds labels of a folder of posts; give the folder: '[^']*a'"):
        read_corpus(root / "a/train.txt")
    assert len(read_corpus(root / "a").samples) == 1


def test_label_files_of_splits_that_the_layout_does_not_read_are_named(tmp_path: Path) -> None:
    files = {"train.txt": "1,x\n", "val.txt": "2,x\n", "my test.txt": "3,x\n", "notes.txt": "-"}
    root = write(tmp_path, {**pairs("1", "2", "3"), **files})
    assert (
        read_corpus(root)
        .notes[1]
        .startswith("not read: my test.txt, val.txt; for several splits, call label files ID-")
    )


def test_annotators_that_gave_no_label_at_the_end_of_a_line(tmp_path: Path) -> None:
    lines = "ID\ttext,image\ttext,image\n1\tpositive,positive\t\n2\t\tpositive,positive\n"
    root = write(tmp_path, {**pairs("1", "2"), "labelResultAll.txt": lines})
    corpus = read_corpus(root)
    assert [(sample.id, sample.label) for sample in corpus.samples] == [("1", "positive")]
    assert [problem.line for problem in corpus.problems] == [3]


def test_a_table_behind_a_link_is_refused_with_the_line_that_copies_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec", reason="needs the extra remote")
    fsspec.filesystem("memory").pipe("/posts.csv", b"id,text,label\n1,good,a\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"not from 'memory://posts.csv'; copy them: `python -c ") as error:
        read_corpus(Path("memory://posts.csv"))
    (line,) = re.findall(r'python -c "(.*)"`', str(error.value))
    exec(line)
    assert [one.text for one in read_corpus(tmp_path / "posts").samples] == ["good"]
    with pytest.raises(ValueError, match=re.escape("filesystem('s3').get('s3://bucket/p', 'posts/', recursive=True)")):
        read_corpus(Path("s3://bucket/p"))
