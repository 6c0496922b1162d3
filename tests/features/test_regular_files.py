"""Only regular files are opened: folders, pipes and links in a circle are refused before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from msa.features.regular_files import regular


def test_a_file_and_a_link_to_it_are_regular(tmp_path: Path) -> None:
    file, link = tmp_path / "a", tmp_path / "b"
    file.touch()
    link.symlink_to(file)
    assert [regular(file), regular(link)] == [file, link]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_a_pipe_and_a_folder_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="a pipe or a socket, not a regular file"):
        regular(tmp_path / "pipe")
    with pytest.raises(ValueError, match="a folder, not a regular file"):
        regular(tmp_path)


def test_a_circle_of_links_is_named_and_nothing_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(ValueError, match="leads to itself"):
        regular(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        regular(tmp_path / "c")
