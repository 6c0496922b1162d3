"""Paths in stored files follow the folder that they lie in."""

from __future__ import annotations

from pathlib import Path

from msa.features.store.stored_paths import read_path, stored_path


def test_a_path_is_found_from_where_its_file_is_now(tmp_path: Path) -> None:
    (tmp_path / "a/runs/one").mkdir(parents=True)
    text = stored_path(tmp_path / "a/cache", tmp_path / "a/runs/one")
    assert text == "../../cache"
    (tmp_path / "a").rename(tmp_path / "b")
    assert read_path(text, tmp_path / "b/runs/one") == (tmp_path / "b/cache").resolve()
    (tmp_path / "link").symlink_to(tmp_path / "b/runs")
    assert read_path(text, tmp_path / "link/one") == (tmp_path / "b/cache").resolve()


def test_a_path_that_shares_nothing_with_its_file_stays_absolute(tmp_path: Path) -> None:
    assert stored_path("/somewhere/cache", tmp_path) == "/somewhere/cache"
    assert read_path("/somewhere/cache", tmp_path) == Path("/somewhere/cache")
