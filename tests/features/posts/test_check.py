"""What `msa check` reports."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from msa.features.posts.check import check_corpus
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
