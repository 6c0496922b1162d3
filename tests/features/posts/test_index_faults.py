"""A content index that is damaged, locked or cannot be written stops no command, and one line says so."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from file_posts import count_reads, write_aged, write_posts

from msa.features.blob import content_key
from msa.features.posts import content_index
from msa.features.posts.content import hash_corpus
from msa.features.posts.content_index import FILE


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return count_reads(monkeypatch)


@pytest.fixture(autouse=True)
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The notices of all threads."""
    content_index._note.cache_clear()
    found: list[str] = []
    monkeypatch.setattr(content_index, "notify", found.append)
    return found


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
    tmp_path: Path, reads: list[str], notes: list[str], damage: str
) -> None:
    corpus = write_posts(tmp_path)
    first = hash_corpus(corpus, tmp_path / "cache")
    assert notes == []
    DAMAGE[damage](tmp_path / "cache" / FILE)
    assert hash_corpus(corpus, tmp_path / "cache") == first
    (line,) = notes
    assert FILE in line
    assert line.endswith("it is built again from the posts")
    reads.clear()
    assert hash_corpus(corpus, tmp_path / "cache") == first
    assert reads == []
    assert len(notes) == 1


def test_an_index_of_another_version_is_replaced_silently(tmp_path: Path, notes: list[str]) -> None:
    corpus = write_posts(tmp_path)
    database = sqlite3.connect(tmp_path / "cache" / FILE)
    database.execute("PRAGMA user_version = 99")
    database.close()
    assert hash_corpus(corpus, tmp_path / "cache", update=False) == hash_corpus(corpus)
    assert hash_corpus(corpus, tmp_path / "cache") == hash_corpus(corpus)
    assert notes == []


def test_a_locked_index_is_done_without(tmp_path: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_index, "LOCK_SECONDS", 0.01)
    corpus = write_posts(tmp_path)
    hash_corpus(corpus, tmp_path / "cache")
    other = sqlite3.connect(tmp_path / "cache" / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for _ in range(2):
        assert hash_corpus(corpus, tmp_path / "cache") == hash_corpus(corpus)
    other.close()
    assert len(notes) == 1
    assert "cannot be used (database is locked); the files of all posts are read again" in notes[0]


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_done_without(tmp_path: Path, notes: list[str], kind: str) -> None:
    if kind == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    corpus = write_posts(tmp_path)
    (Path.mkdir if kind == "folder" else os.mkfifo)(tmp_path / "cache" / FILE)
    assert hash_corpus(corpus, tmp_path / "cache") == hash_corpus(corpus)
    assert "it is not a regular file" in notes[0]


def test_an_index_that_may_not_be_written_is_still_read(
    tmp_path: Path, reads: list[str], notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write_posts(tmp_path)
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
    assert notes == []
    write_aged(tmp_path / "data/a.jpg", b"other", 60)
    assert hash_corpus(corpus, tmp_path / "cache").image_keys[0] == content_key(b"other")
    assert reads == ["a.jpg"]
    (line,) = notes
    assert line.endswith("(attempt to write a readonly database); the files that it lacks are read by each command")
