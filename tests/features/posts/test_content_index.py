"""The content index: unchanged files are not read again, changed ones always are; no fault of it stops a command."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from source_files import ROOT

from msa.features.posts import content, content_index, text
from msa.features.posts.content import Contents, content_key, hash_corpus, text_key
from msa.features.posts.content_index import FILE
from msa.features.posts.samples import Corpus, Sample, read_file
from msa.features.spec import Modality


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, in order."""
    names: list[str] = []

    def counted(path: Path, modality: Modality) -> bytes:
        names.append(path.name)
        return read_file(path, modality)

    for module in (content, text):
        monkeypatch.setattr(module, "read_file", counted)
    return names


@pytest.fixture(autouse=True)
def notes(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    content_index._note.cache_clear()
    return caplog


def corpus_in(root: Path) -> Corpus:
    """Three posts whose files are an hour old, one of them with a blank text; and a cache beside."""
    (root / "data").mkdir(parents=True)
    (root / "cache").mkdir()
    samples = []
    for name, words in (("a", b"good"), ("b", "今天".encode("gb18030")), ("c", b" ")):
        image, words_file = root / f"data/{name}.jpg", root / f"data/{name}.txt"
        write(image, b"image of " + name.encode())
        write(words_file, words)
        samples.append(Sample(name, image, words_file))
    return Corpus(root, "table", samples)


def write(file: Path, raw: bytes, age: float = 3600.0) -> None:
    file.write_bytes(raw)
    os.utime(file, (time.time() - age,) * 2)


def plain(corpus: Corpus) -> Contents:
    return hash_corpus(corpus)


def test_a_second_run_reads_nothing_and_gives_the_same_keys(tmp_path: Path, reads: list[str]) -> None:
    corpus = corpus_in(tmp_path)
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
    write(file.with_suffix(".new"), b"IMAGE OF A")
    os.utime(file.with_suffix(".new"), ns=(0, file.stat().st_mtime_ns))
    file.with_suffix(".new").replace(file)


CHANGES: dict[str, Callable[[Path], None]] = {
    "later": lambda file: write(file, b"IMAGE OF A", 10),
    "earlier": lambda file: write(file, b"IMAGE OF A", 7200),
    "longer": lambda file: file.write_bytes(b"image of a again"),
    "same size and time": same_size_and_time,
    "another file of the same size and time": replaced,
}


@pytest.mark.skipif(sys.platform == "win32", reason="it keeps no time of an inode's change")
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_has_its_new_key(tmp_path: Path, reads: list[str], change: str) -> None:
    corpus = corpus_in(tmp_path)
    hash_corpus(corpus, tmp_path / "cache")
    CHANGES[change](tmp_path / "data/a.jpg")
    reads.clear()
    assert hash_corpus(corpus, tmp_path / "cache") == plain(corpus)
    assert reads.count("a.jpg") == 2
    assert reads.count("b.jpg") == 1  # by `plain` alone


def test_a_file_that_was_just_modified_is_not_trusted(tmp_path: Path, reads: list[str]) -> None:
    corpus = corpus_in(tmp_path)
    write(tmp_path / "data/a.jpg", b"now", 0.5)
    write(tmp_path / "data/b.jpg", b"in a wrong time zone", -7200)
    hash_corpus(corpus, tmp_path / "cache")
    reads.clear()
    assert hash_corpus(corpus, tmp_path / "cache") == hash_corpus(corpus, tmp_path / "cache")
    assert reads == ["a.jpg", "b.jpg"] * 2


def test_a_moved_folder_is_known_and_another_with_the_same_names_is_not(tmp_path: Path, reads: list[str]) -> None:
    corpus = corpus_in(tmp_path / "old")
    first = hash_corpus(corpus, tmp_path / "old/cache")
    (tmp_path / "old").rename(tmp_path / "new")
    samples = [replace(s, image=tmp_path / f"new/data/{s.id}.jpg", text=None) for s in corpus.samples]
    moved = Corpus(tmp_path / "new", "table", samples)
    reads.clear()
    assert hash_corpus(moved, tmp_path / "new/cache").image_keys == first.image_keys
    assert reads == []
    other = corpus_in(tmp_path / "other")
    for sample in other.samples:
        assert sample.image
        write(sample.image, b"IMAGE OF X")
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
            write(file, b"%d" % number)
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
    corpus = corpus_in(tmp_path)
    hash_corpus(corpus, tmp_path / "cache")
    reads.clear()
    monkeypatch.setattr(content_index, "_reader", lambda modality: "" if modality == "image" else "newer")
    hash_corpus(corpus, tmp_path / "cache")
    assert sorted(reads) == ["a.txt", "b.txt", "c.txt"]


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def other_tables(file: Path) -> None:
    file.unlink()
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE files (other)")
    database.execute(f"PRAGMA user_version = {content_index.FORMAT}")
    database.commit()
    database.close()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no database": lambda file: file.write_bytes(b"no database at all" * 100),
    "cut off": truncate,
    "zeros": lambda file: file.write_bytes(file.read_bytes()[:100] + bytes(file.stat().st_size - 100)),
    "other tables": other_tables,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_is_rebuilt_and_one_line_says_so(
    tmp_path: Path, reads: list[str], notes: pytest.LogCaptureFixture, damage: str
) -> None:
    corpus = corpus_in(tmp_path)
    first = hash_corpus(corpus, tmp_path / "cache")
    assert notes.messages == []
    DAMAGE[damage](tmp_path / "cache" / FILE)
    assert hash_corpus(corpus, tmp_path / "cache") == first
    (line,) = notes.messages
    assert FILE in line
    assert line.endswith("it is built again from the posts")
    reads.clear()
    assert hash_corpus(corpus, tmp_path / "cache") == first
    assert reads == []
    assert len(notes.messages) == 1


def test_an_index_of_another_version_is_replaced_silently(tmp_path: Path, notes: pytest.LogCaptureFixture) -> None:
    corpus = corpus_in(tmp_path)
    database = sqlite3.connect(tmp_path / "cache" / FILE)
    database.execute("PRAGMA user_version = 99")
    database.close()
    assert hash_corpus(corpus, tmp_path / "cache", update=False) == plain(corpus)
    assert hash_corpus(corpus, tmp_path / "cache") == plain(corpus)
    assert notes.messages == []


def test_a_locked_index_is_done_without(
    tmp_path: Path, notes: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_index, "LOCK_SECONDS", 0.01)
    corpus = corpus_in(tmp_path)
    hash_corpus(corpus, tmp_path / "cache")
    other = sqlite3.connect(tmp_path / "cache" / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for _ in range(2):
        assert hash_corpus(corpus, tmp_path / "cache") == plain(corpus)
    other.close()
    assert len(notes.messages) == 1
    assert "cannot be used (database is locked); the files of all posts are read again" in notes.messages[0]


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_done_without(tmp_path: Path, notes: pytest.LogCaptureFixture, kind: str) -> None:
    if kind == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    corpus = corpus_in(tmp_path)
    (Path.mkdir if kind == "folder" else os.mkfifo)(tmp_path / "cache" / FILE)
    assert hash_corpus(corpus, tmp_path / "cache") == plain(corpus)
    assert "it is not a regular file" in notes.messages[0]


def test_nothing_is_written_without_a_cache_or_where_it_may_not_be(tmp_path: Path) -> None:
    corpus = corpus_in(tmp_path)
    hash_corpus(corpus, tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
    hash_corpus(corpus, tmp_path / "cache", update=False)
    assert list((tmp_path / "cache").iterdir()) == []
    hash_corpus(corpus, tmp_path / "cache")
    before = (tmp_path / "cache" / FILE).read_bytes()
    write(tmp_path / "data/a.jpg", b"other", 60)
    assert hash_corpus(corpus, tmp_path / "cache", update=False) == plain(corpus)
    assert (tmp_path / "cache" / FILE).read_bytes() == before


def test_an_index_that_may_not_be_written_is_still_read(
    tmp_path: Path, reads: list[str], notes: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = corpus_in(tmp_path)
    hash_corpus(corpus, tmp_path / "cache")
    connect = sqlite3.connect

    def read_only(*given: Any, **more: Any) -> sqlite3.Connection:
        database = connect(*given, **more)
        database.execute("PRAGMA query_only = 1")
        return database

    monkeypatch.setattr(sqlite3, "connect", read_only)
    reads.clear()
    hash_corpus(corpus, tmp_path / "cache")
    assert reads == []
    assert notes.messages == []
    write(tmp_path / "data/a.jpg", b"other", 60)
    assert hash_corpus(corpus, tmp_path / "cache").image_keys[0] == content_key(b"other")
    assert reads == ["a.jpg"]
    (line,) = notes.messages
    assert line.endswith("(attempt to write a readonly database); the files that it lacks are read by each command")


def test_processes_that_hash_at_once_share_the_index(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "cache").mkdir()
    files = [tmp_path / f"{number}.jpg" for number in range(1500)]
    for file in files:
        write(file, file.name.encode())
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
    corpus = corpus_in(tmp_path)
    hash_corpus(corpus, tmp_path / "cache")
    database = sqlite3.connect(tmp_path / "cache" / FILE)
    database.execute("UPDATE files SET key = ? WHERE path = ?", ("0" * 32, b"data/a.jpg"))
    database.commit()
    database.close()
    assert hash_corpus(corpus, tmp_path / "cache").image_keys[0] == "0" * 32
    with content_index.ContentIndex(tmp_path / "cache", tmp_path) as index:
        index.forget({"0" * 32})
    reads.clear()
    assert hash_corpus(corpus, tmp_path / "cache") == plain(corpus)
    assert reads.count("a.jpg") == 2
