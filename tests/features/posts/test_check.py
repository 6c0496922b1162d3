"""What `msa check` reports."""

from __future__ import annotations

import io
import json
from itertools import zip_longest
from pathlib import Path

import pytest
from PIL import Image

from msa.features.posts.check import Groups, check_corpus
from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus, Problem, Sample

REAL = Path(__file__).parents[4] / "shared" / "data" / "mvsa"


def jpeg(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def corpus_with_everything(root: Path) -> Corpus:
    files = {"red.jpg": jpeg("red"), "red2.jpg": jpeg("red"), "blue.jpg": jpeg("blue"), "cut.jpg": jpeg("green")[:-20]}
    for name, raw in {**files, "bad.txt": b"\0", "blank.txt": b" "}.items():
        (root / name).write_bytes(raw)
    samples = [
        Sample("1", root / "red.jpg", "same", "pos", "train"),
        Sample("2", root / "red2.jpg", "same", "neg", "train"),
        Sample("3", root / "blue.jpg", root / "bad.txt", "pos", "test"),
        Sample("4", root / "blue.jpg", root / "blank.txt", None),
        Sample("5", root / "cut.jpg", "x", "pos"),
        Sample("6", root / "cut.jpg", "y", "pos"),
        Sample("7", root / "gone.jpg", None, "pos"),
        Sample("8", None, "z", "pos"),
    ]
    return Corpus(root, "table", samples, [Problem("posts.csv", 9, "broken")], ["a note"])


def test_the_report_counts_everything_once(tmp_path: Path) -> None:
    found = check_corpus(corpus_with_everything(tmp_path)).to_dict()
    assert json.loads(json.dumps(found)) == found
    problems = found.pop("problems")
    assert found == {
        "layout": "table",
        "rows": 8,
        "labels": {"neg": 1, "pos": 6},
        "unlabelled": 1,
        "splits": {"test": 1, "train": 2},
        "missing_image": 1,
        "missing_text": 2,
        "duplicates": {
            "text": {"groups": 1, "rows": 2, "across_labels": 1},
            "image": {"groups": 3, "rows": 6, "across_labels": 1},
        },
        "near_copies": {
            "text": {"groups": 0, "rows": 0, "across_labels": 0},
            "image": {"groups": 0, "rows": 0, "across_labels": 0},
        },
        "groups": {"groups": 3, "rows": 6, "largest": 2},
        "notes": ["a note"],
    }
    assert problems == [
        {"file": "posts.csv", "line": 9, "reason": "broken"},
        {"file": "bad.txt", "line": None, "reason": "binary, not text"},
        {"file": "cut.jpg", "line": None, "reason": "truncated JPEG"},
        {"file": "cut.jpg", "line": None, "reason": "truncated JPEG"},
        {"file": "gone.jpg", "line": None, "reason": "unreadable: No such file or directory"},
    ]


def test_the_text_names_every_finding(tmp_path: Path) -> None:
    lines = check_corpus(corpus_with_everything(tmp_path)).to_text().splitlines()
    fields = [line.split() for line in lines]
    assert ["rows", "8"] in fields
    assert ["unlabelled", "1"] in fields
    assert ["missing", "text", "2"] in fields
    assert ["split", "train", "2"] in fields
    assert "6 rows in 3 groups, 1 groups across labels" in next(line for line in lines if line.startswith("same image"))
    assert lines[-6:-4] == ["a note", "posts.csv:9: broken"]
    assert lines[-1] == "gone.jpg: unreadable: No such file or directory"


def test_groups_are_joined_through_images_texts_and_groups(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg("red"))
    image = tmp_path / "a.jpg"
    samples = [
        Sample("1", image, "one"),
        Sample("2", image, "two"),
        Sample("3", None, "two", group="u"),
        Sample("4", None, "four", group="u"),
        Sample("5", None, "five", group="v"),
        Sample("6", None, "six", group="w"),
        Sample("7", None, "six"),
    ]
    report = check_corpus(Corpus(tmp_path, "table", samples))
    assert report.groups == Groups(groups=2, rows=6, largest=4)
    (line,) = [line for line in report.to_text().splitlines() if line.startswith("same image, text or group")]
    assert line.split("  ")[-1] == "6 rows in 2 groups, 4 rows in the largest"


def test_the_first_ten_problems_of_each_kind_are_printed_and_all_on_request(tmp_path: Path) -> None:
    names = ["it's", 'a: "b" c', *(f"img/{number}.jpg" for number in range(23))]
    missing = [Problem("posts.csv", line, f"image {name!r} does not exist") for line, name in enumerate(names)]
    damaged = [Problem(f"{n}.png", None, f"damaged PNG: broken chunk {b'IDAT'!r} no. {n}") for n in range(11)]
    fields = [Problem("posts.csv", n, f"{n} fields, but the header has 5") for n in range(3)]
    problems = [problem for triple in zip_longest(missing, damaged, fields) for problem in triple if problem]
    report = check_corpus(Corpus(tmp_path, "table", [], problems))
    lines = report.to_text().splitlines()[-25:]
    assert lines[:10] == [str(problem) for problem in missing[:10]]
    assert lines[10] == "and 15 more; --all prints them"
    assert lines[11:22] == [*map(str, damaged[:10]), "and 1 more; --all prints them"]
    assert lines[22:] == list(map(str, fields))
    assert report.to_text(every=True).splitlines()[-len(problems) :] == list(map(str, problems))
    assert len(report.to_dict()["problems"]) == len(problems)


def test_encodings_of_texts_are_counted(tmp_path: Path) -> None:
    texts = {"1": "don’t".encode("cp1252"), "2": "can’t".encode("cp1252"), "3": "很好".encode("gb18030"), "4": b"ok"}
    for name, raw in {**texts, "5": "très".encode(), "6": "今".encode("utf-16"), "7": b"\xff\xff\xff"}.items():
        (tmp_path / f"{name}.txt").write_bytes(raw)
    samples = [Sample(name, None, tmp_path / f"{name}.txt") for name in "1234567"]
    notes = check_corpus(Corpus(tmp_path, "course", samples)).notes
    assert notes == ["1 texts read as GB18030", "1 texts read as UTF-16", "2 texts read as Windows-1252"]


def test_an_empty_corpus_has_an_empty_report(tmp_path: Path) -> None:
    report = check_corpus(Corpus(tmp_path, "table", []))
    assert (report.rows, report.labels, report.problems) == (0, {}, [])
    assert "rows" in report.to_text()


@pytest.mark.skipif(not REAL.is_dir(), reason="the course data is not here")
def test_the_course_data_has_the_known_counts() -> None:
    report = check_corpus(read_corpus(REAL))
    assert (report.rows, report.unlabelled, report.missing_image, report.missing_text) == (4511, 511, 0, 0)
    assert report.labels == {"negative": 1193, "neutral": 419, "positive": 2388}
    assert list(report.problems) == []
    assert (report.duplicates["text"].groups, report.duplicates["image"].groups) == (154, 40)
    assert report.duplicates["image"].across_labels == 6
