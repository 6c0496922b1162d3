"""Reading the file of a post: only regular files, of a bounded size."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from msa.features.posts.samples import MAX_MEGABYTES, read_file
from msa.features.spec import BadItem, Modality


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path, modality: Modality) -> None:
    limit = MAX_MEGABYTES[modality] * 1_000_000
    file = tmp_path / "x"
    file.write_bytes(b"ab")
    assert read_file(file, modality) == b"ab"
    os.truncate(file, limit)
    assert len(read_file(file, modality)) == limit
    os.truncate(file, 30_000_000_000)  # reading it would fill the memory
    with pytest.raises(BadItem, match=f"30000.0 MB: over the limit of {MAX_MEGABYTES[modality]} MB for one {modality}"):
        read_file(file, modality)


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such files")
def test_pipes_devices_and_folders_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"x")
    for name in ("pipe", "zero"):
        with pytest.raises(BadItem, match="it is a device, a pipe or a socket, not a regular file"):
            read_file(tmp_path / name, "image")
    with pytest.raises(BadItem, match="it is a folder"):
        read_file(tmp_path, "image")
    assert read_file(tmp_path / "link", "image") == b"x"


def test_too_little_memory_is_a_bad_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"abc")

    class Full:
        def fileno(self) -> int:
            return 0

        def read(self, size: int) -> bytes:
            raise MemoryError

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr("builtins.open", lambda *given, **more: Full())
    monkeypatch.setattr(os, "fstat", lambda number: (tmp_path / "x").stat())
    with pytest.raises(BadItem, match=r"not enough memory to read its 0\.0 MB"):
        read_file(tmp_path / "x", "image")
