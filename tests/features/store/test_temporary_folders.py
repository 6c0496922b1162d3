"""A temporary folder ends with its process, or is deleted by the next one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from msa.features.store.temporary_folders import LOCK, TemporaryFolder

KILLED = """
import os
from msa.features.store.temporary_folders import TemporaryFolder
folder = TemporaryFolder()
print(folder.name, flush=True)
os._exit(9)
"""


def test_the_folder_of_a_killed_process_is_deleted_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, text=True, check=False)
    left = Path(run.stdout.strip())
    assert left.parent == tmp_path
    with TemporaryFolder() as used:
        assert left.exists()  # as fresh as one that is not locked yet
        for folder in (left, Path(used)):
            os.utime(folder / LOCK, (0, 0))
        with TemporaryFolder():
            assert not left.exists()
            assert Path(used).exists()
    assert list(tmp_path.iterdir()) == []


def test_folders_of_other_programs_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "msa-other").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / LOCK).touch()
    for path in (tmp_path / "msa-other", tmp_path / "elsewhere" / LOCK):
        os.utime(path, (0, 0))
    with TemporaryFolder():
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"msa-other", "elsewhere"}
