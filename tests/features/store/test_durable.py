"""Files and folders are whole or absent, whatever ends the writing; a disk's error is kept until it is asked for."""

from __future__ import annotations

import errno
from contextlib import suppress
from io import RawIOBase
from pathlib import Path
from typing import Any

import pytest

from msa.features.store.durable import Sink, entries, existing, naming, new_folder, replacing, write_atomic


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a"
    write_atomic(path, b"old")
    with suppress(RuntimeError), replacing(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert entries(path.parent) == [path]
    assert path.read_bytes() == b"old"
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_folder_appears_at_the_end_or_not_at_all(tmp_path: Path) -> None:
    with suppress(RuntimeError), new_folder(tmp_path / "run") as folder:
        (folder / "a").touch()
        raise RuntimeError
    assert entries(tmp_path) == []
    with new_folder(tmp_path / "run") as folder:
        (folder / "a").touch()
        assert not (tmp_path / "run").exists()
    assert entries(tmp_path / "run") == [tmp_path / "run" / "a"]


def test_an_absent_folder_is_empty_and_the_nearest_one_above_exists(tmp_path: Path) -> None:
    assert entries(tmp_path / "gone") == []
    assert existing(tmp_path / "gone" / "deeper") == tmp_path


def test_an_error_without_a_file_gets_its_name() -> None:
    with pytest.raises(OSError, match=r"a\.h5"), naming(Path("a.h5")):
        raise OSError(errno.ENOSPC, "No space left on device")


class FullDisk(RawIOBase):
    """Takes three bytes, one at a time, and then no more."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: Any) -> int:
        if len(self.taken) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.taken += bytes(data[:1])
        return 1


def test_a_sink_writes_in_pieces_and_keeps_the_first_error() -> None:
    disk = FullDisk()
    sink = Sink(disk)
    sink.write(b"ab")
    sink.check()
    sink.write(b"cd")
    sink.write(b"e")
    assert disk.taken == b"abc"
    with pytest.raises(OSError, match="No space left"):
        sink.check()
