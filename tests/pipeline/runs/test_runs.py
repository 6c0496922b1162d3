"""A run's folder is claimed once, found when whole, and refused when damaged."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from msa.pipeline.runs.destination import free_name
from msa.pipeline.runs.folders import find_run, find_runs
from msa.pipeline.runs.runs import load_run


def test_runs_that_end_together_do_not_share_a_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: free_name(tmp_path / "runs", "gated"), range(24)))
    assert len(set(claimed)) == 24
    assert claimed[0].parent.name == "runs"


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", ""])
def test_a_name_stays_inside_the_folder_of_runs(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain file name, as gated-2"):
        free_name(tmp_path, name)


def test_the_newest_whole_run_is_found(tmp_path: Path) -> None:
    for at, name in enumerate(["old", "new", ".new-123.tmp"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        os.utime(tmp_path / name / "config.json", (at, at))
    (tmp_path / "empty").mkdir()
    assert find_run(tmp_path) == tmp_path / "new"
    assert find_run(tmp_path / "old") == tmp_path / "old"
    assert find_runs(tmp_path) == [tmp_path / "old", tmp_path / "new"]
    assert find_runs(tmp_path / "new") == [tmp_path / "new"]
    with pytest.raises(ValueError, match=r"holds no trained heads; runs in \S*/: new, old"):
        find_run(tmp_path / "empty")


@pytest.mark.parametrize(
    "content", ["{}", '{"format": 1, "head": 1}', "{", "[]", '{"format": 1, "head": {"patches": null}}']
)
def test_a_damaged_configuration_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        load_run(tmp_path)


def test_a_configuration_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"format": 2}')
    with pytest.raises(
        ValueError, match=r"not a run's configuration \(format 2, but .* format 1: update msa to read it\); train again"
    ):
        load_run(tmp_path)
