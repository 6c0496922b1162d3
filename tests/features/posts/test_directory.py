"""Files are found by name or under the only other spelling of it; what macOS leaves beside them is not data."""

from __future__ import annotations

from pathlib import Path

import pytest

from msa.features.posts.directory import Directory, is_file, is_folder, list_directory


def directory(folder: Path, *names: str) -> Directory:
    for name in names:
        (folder / name).touch()
    found = list_directory(folder)
    assert found is not None
    return found


def test_another_case_extension_or_number_is_the_same_file(tmp_path: Path) -> None:
    found = directory(tmp_path, "1.JPG", "Zwei.png", "3.txt", "a b.jpg", "._1.jpg")
    wanted = {"1.jpg": "1.JPG", "1.0": "1.JPG", "zwei.jpg": "Zwei.png", "zwei": "Zwei.png", "a%20b.jpg": "a b.jpg"}
    assert {name: found.find(name) for name in wanted} == wanted
    assert found.find("4.jpg") is None
    assert found.alike("3", (".txt",)) == ["3.txt"]


def test_of_several_spellings_none_is_picked(tmp_path: Path) -> None:
    found = directory(tmp_path, "a.jpg", "a.png")
    assert found.find("a") is None
    assert found.find("a.png") == "a.png"


def test_folders_are_no_files_and_an_absent_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / "Data").mkdir()
    found = directory(tmp_path, "a.jpg")
    assert found.folders_alike("data") == ["Data"]
    assert list_directory(tmp_path / "gone") is None
    assert is_file(tmp_path / "a.jpg")
    assert not is_folder(tmp_path / "a.jpg")
    assert not is_file(tmp_path / "gone")


def test_a_name_that_no_file_can_have_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too long"):
        list_directory(tmp_path / ("x" * 5000))
