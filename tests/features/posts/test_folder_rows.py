"""Whatever a label file and its folder hold, every row is used or reported."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus

HEADERS = {
    "train.txt": "guid,tag",
    "test_without_label.txt": "guid,tag",
    "ID-label-train.txt": "ID,label",
    "ID-label-test.txt": "ID,label",
    "labelResultAll.txt": "ID\ttext,image",
}
FILES = {
    "course": ("train.txt", "test_without_label.txt"),
    "id-label": ("ID-label-train.txt", "ID-label-test.txt"),
    "mvsa": ("labelResultAll.txt",),
}
IDS = [
    "1",
    "01",
    "1.0",
    "2",
    "Zoë",
    "zoë",
    "Zoe\u0308",
    "id",
    "guid",
    "a/b",
    "../1",
    "/etc/passwd",
    "C:1",
    "..",
    ".",
]
IDS += ["", "it's", "“x”", "今天", "1.jpg", "._1", "\0", "x" * 300, "a,b", "😀", "-"]
STRAY = [
    "._1.jpg",
    ".DS_Store",
    "7.jpg",
    "1.jpeg",
    "1.JPG",
    "1.png",
    "01.txt",
    "zoë.txt",
    "今天.TXT",
    "it's.jpg",
]
LABELS = ["positive", "neutral", "negative", "", "null", "Positive ", "好", "très", "a b"]
rows = st.one_of(
    st.tuples(st.sampled_from(IDS), st.sampled_from([",", "\t", " , ", ";", ""]), st.sampled_from(LABELS)).map("".join),
    st.builds("{}\t{},{}".format, st.sampled_from(IDS), st.sampled_from(LABELS[:3]), st.sampled_from(LABELS[:4])),
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), max_size=12),
    st.sampled_from(["", "  ", "\t"]),
    st.sampled_from([b"\xff\xff,a", b"caf\xe9,b", b"it\x92s,c", b"\xe4\xbb\n".strip()]),
)


def encode(row: str | bytes, encoding: str) -> bytes:
    return row if isinstance(row, bytes) else row.encode(encoding, "replace")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_rows_used_and_rows_reported_are_the_rows_of_the_files(tmp_path_factory: object, data: st.DataObject) -> None:
    root = Path(tmp_path_factory.getbasetemp()) / "rows"  # type: ignore[attr-defined]
    shutil.rmtree(root, ignore_errors=True)
    (root / "data").mkdir(parents=True)
    for name in data.draw(st.lists(st.sampled_from(STRAY), unique=True)):
        (root / "data" / name).write_bytes(b"x")
    layout = data.draw(st.sampled_from(sorted(FILES)))
    count = 0
    for file in FILES[layout]:
        encoding = data.draw(st.sampled_from(["utf-8", "gb18030", "cp1252"]))
        drawn = data.draw(st.lists(rows, max_size=8))
        ends = data.draw(st.sampled_from([b"\n", b"\r\n"]))
        (root / file).write_bytes(ends.join([HEADERS[file].encode(), *(encode(row, encoding) for row in drawn), b""]))
        count += sum(isinstance(row, bytes) or bool(encode(row, encoding).decode(encoding).strip()) for row in drawn)
    corpus = read_corpus(root, layout=layout)
    lost = {(p.file, p.line) for p in corpus.problems if not p.reason.startswith("post ")}
    assert len(corpus.samples) + len(lost) + dropped(corpus) == count
    assert len({sample.id for sample in corpus.samples}) == len(corpus.samples)
    files = [file for sample in corpus.samples for file in (sample.image, sample.text) if isinstance(file, Path)]
    assert all(file.is_file() and file.parent == root / "data" for file in files)


def dropped(corpus: Corpus) -> int:
    """Posts that the label rule of MVSA drops, which its note counts."""
    return sum(int(number) for note in corpus.notes for number in re.findall(r"^label rule .* dropped (\d+)", note))


def test_a_post_that_is_called_id_is_no_header(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "labelResultAll.txt").write_text("ID\ttext,image\nid\tneutral,neutral\n", encoding="utf-8")
    assert [sample.id for sample in read_corpus(tmp_path).samples] == ["id"]
