"""The content index: unchanged files are not read again, changed ones always are."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from file_posts import count_reads, write_aged, write_posts
from source_files import ROOT

from msa.features.blob import content_key
from msa.features.posts import content_index
from msa.features.posts.check import check_corpus
from msa.features.posts.content import hash_corpus, text_key
from msa.features.posts.content_index import FILE
from msa.features.posts.samples import Corpus, Sample


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return count_reads(monkeypatch)


def test_a_second_run_reads_nothing_and_gives_the_same_keys(tmp_path: Path, reads: list[str]) -> None:
    corpus = write_posts(tmp_path)
    first = hash_corpus(corpus, tmp_path / "cache")
    assert first.image_keys == [content_key(b"image of " + name) for name in (b"a", b"b", b"c")]
    assert first.text_keys == [text_key("good"), text_key("今天"), None]
    assert first.missing("text") == [False, False, True]
    assert len(reads) == 6
    reads.clear()
    assert hash_corpus(corpus, tmp_path / "cache") == first
    assert reads == []
    assert hash_corpus(replace(corpus, rehash=True), tmp_path / "cache") == first
    assert len(reads) == 6


def same_size_and_time(file: Path) -> None:
    old = file.stat()
    time.sleep(0.02)  # the clock of the file system may tick every ten milliseconds
    file.write_bytes(b"IMAGE OF A")
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))


def replaced(file: Path) -> None:
    write_aged(file.with_suffix(".new"), b"IMAGE OF A")
    os.utime(file.with_suffix(".new"), ns=(0, file.stat().st_mtime_ns))
    file.with_suffix(".new").replace(file)


CHANGES: dict[str, Callable[[Path], None]] = {
    "later": lambda file: write_aged(file, b"IMAGE OF A", 10),
    "earlier": lambda file: write_aged(file, b"IMAGE OF A", 7200),
    "longer": lambda file: file.write_bytes(b"image of a again"),
    "same size and time": same_size_and_time,
    "another file of the same size and time": replaced,
}


@pytest.mark.skipif(sys.platform == "win32", reason="it keeps no time of an inode's change")
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_has_its_new_key(tmp_path: Path, reads: list[str], change: str) -> None:
    corpus = write_posts(tmp_path)
    hash_corpus(corpus, tmp_path / "cache")
    CHANGES[change](tmp_path / "data/a.jpg")
    reads.clear()
    assert hash_corpus(corpus, tmp_path / "cache") == hash_corpus(corpus)
    assert reads.count("a.jpg") == 2
    assert reads.count("b.jpg") == 1  # without the index alone


def test_a_file_that_was_just_modified_is_not_trusted(tmp_path: Path, reads: list[str]) -> None:
    corpus = write_posts(tmp_path)
    write_aged(tmp_path / "data/a.jpg", b"now", 0.5)
    write_aged(tmp_path / "data/b.jpg", b"in a wrong time zone", -7200)
    hash_corpus(corpus, tmp_path / "cache")
    reads.clear()
    assert hash_corpus(corpus, tmp_path / "cache") == hash_corpus(corpus, tmp_path / "cache")
    assert reads == ["a.jpg", "b.jpg"] * 2


def test_a_moved_folder_is_known_and_another_with_the_same_names_is_not(tmp_path: Path, reads: list[str]) -> None:
    corpus = write_posts(tmp_path / "old")
    first = hash_corpus(corpus, tmp_path / "old/cache")
    (tmp_path / "old").rename(tmp_path / "new")
    samples = [replace(s, image=tmp_path / f"new/data/{s.id}.jpg", text=None) for s in corpus.samples]
    moved = Corpus(tmp_path / "new", "table", samples)
    reads.clear()
    assert hash_corpus(moved, tmp_path / "new/cache").image_keys == first.image_keys
    assert reads == []
    other = write_posts(tmp_path / "other")
    for sample in other.samples:
        assert sample.image
        write_aged(sample.image, b"IMAGE OF X")
    for one in (other, moved):  # in turns they do not push each other out
        assert hash_corpus(one, tmp_path / "new/cache") == hash_corpus(one)
    reads.clear()
    assert hash_corpus(other, tmp_path / "new/cache").image_keys == [content_key(b"IMAGE OF X")] * 3
    assert hash_corpus(moved, tmp_path / "new/cache").image_keys == first.image_keys
    assert reads == []


def test_relative_paths_and_names_in_no_encoding_are_known(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "posts").mkdir()
    (tmp_path / "cache").mkdir()
    monkeypatch.chdir(tmp_path / "posts")
    files = [Path("x.jpg"), Path("../y.jpg"), Path(os.fsdecode(b"\xff.jpg"))]
    for number, file in enumerate(files):
        try:
            write_aged(file, b"%d" % number)
        except OSError:  # a file system may have no such name
            files.remove(file)
    corpus = Corpus(Path(), "table", [Sample(str(number), file, None) for number, file in enumerate(files)])
    first = hash_corpus(corpus, Path("../cache"))
    reads.clear()
    assert hash_corpus(corpus, Path("../cache")) == first
    assert reads == []


def test_another_decoder_of_texts_reads_them_again(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write_posts(tmp_path)
    hash_corpus(corpus, tmp_path / "cache")
    reads.clear()
    monkeypatch.setattr(content_index, "_reader", lambda modality: "" if modality == "image" else "newer")
    hash_corpus(corpus, tmp_path / "cache")
    assert sorted(reads) == ["a.txt", "b.txt", "c.txt"]


def test_nothing_is_written_without_a_cache_or_where_it_may_not_be(tmp_path: Path) -> None:
    corpus = write_posts(tmp_path)
    hash_corpus(corpus, tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
    hash_corpus(corpus, tmp_path / "cache", update=False)
    assert list((tmp_path / "cache").iterdir()) == []
    hash_corpus(corpus, tmp_path / "cache")
    before = (tmp_path / "cache" / FILE).read_bytes()
    write_aged(tmp_path / "data/a.jpg", b"other", 60)
    assert hash_corpus(corpus, tmp_path / "cache", update=False) == hash_corpus(corpus)
    assert (tmp_path / "cache" / FILE).read_bytes() == before


def test_processes_that_hash_at_once_share_the_index(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "cache").mkdir()
    files = [tmp_path / f"{number}.jpg" for number in range(1500)]
    for file in files:
        write_aged(file, file.name.encode())
    script = (
        "import sys; from pathlib import Path; from msa.features.posts import content_index\n"
        "from msa.features.posts.content import hash_corpus; from msa.features.posts.samples import Corpus, Sample\n"
        "content_index.BATCH = 100; root, rank = Path(sys.argv[1]), int(sys.argv[2])\n"
        "posts = [Sample(str(n), root / f'{n}.jpg', None) for n in range(rank, 1500, 3)]\n"
        "assert not hash_corpus(Corpus(root, 'table', posts), root / 'cache').bad\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    command = [sys.executable, "-c", script, str(tmp_path)]
    running = [
        subprocess.Popen([*command, str(rank)], env=environment, stderr=subprocess.PIPE, text=True) for rank in range(3)
    ]
    assert [process.communicate()[1] for process in running] == [""] * 3
    corpus = Corpus(tmp_path, "table", [Sample(file.stem, file, None) for file in files])
    assert hash_corpus(corpus, tmp_path / "cache").image_keys == [content_key(file.name.encode()) for file in files]
    assert reads == []


def test_a_wrong_index_is_forgotten_by_keys(tmp_path: Path, reads: list[str]) -> None:
    corpus = write_posts(tmp_path)
    hash_corpus(corpus, tmp_path / "cache")
    database = sqlite3.connect(tmp_path / "cache" / FILE)
    database.execute("UPDATE files SET key = ? WHERE path = ?", ("0" * 32, b"data/a.jpg"))
    database.commit()
    database.close()
    assert hash_corpus(corpus, tmp_path / "cache").image_keys[0] == "0" * 32
    with content_index.ContentIndex(tmp_path / "cache", tmp_path) as index:
        index.forget({"0" * 32})
    reads.clear()
    assert hash_corpus(corpus, tmp_path / "cache") == hash_corpus(corpus)
    assert reads.count("a.jpg") == 2


def test_the_encodings_of_unchanged_texts_are_taken_from_the_index(tmp_path: Path) -> None:
    corpus = write_posts(tmp_path)
    assert check_corpus(corpus, tmp_path / "cache").notes == ["1 texts read as GB18030"]
    assert check_corpus(corpus, tmp_path / "cache").notes == ["1 texts read as GB18030"]
    database = sqlite3.connect(tmp_path / "cache" / FILE)
    database.execute("UPDATE files SET encoding = 'UTF-16' WHERE encoding = 'GB18030'")
    database.commit()
    database.close()
    assert check_corpus(corpus, tmp_path / "cache").notes == ["1 texts read as UTF-16"]
