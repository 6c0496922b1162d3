"""Paths in stored files: relative to the folder that they lie in, so that a project can be moved, renamed or copied."""

from __future__ import annotations

import os
from pathlib import Path


def stored_path(path: str | Path, folder: Path) -> str:
    """How a file in `folder` names a path; absolute where the two share nothing but the root of the file system."""
    path, folder = Path(path).resolve(), folder.resolve()
    if path.anchor != folder.anchor or os.path.commonpath([path, folder]) == path.anchor:
        return str(path)
    return Path(os.path.relpath(path, folder)).as_posix()


def read_path(text: str, folder: Path) -> Path:
    """The path that a file in `folder` names by `text`, absolute."""
    return (folder.resolve() / text).resolve()
