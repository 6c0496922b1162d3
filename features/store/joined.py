"""The folder of a cache that holds features joined to the posts of a data set: copies, which can be made again."""

from __future__ import annotations

from pathlib import Path

from .durable import entries

JOINED = "joined"


def joined_folders(cache: Path) -> list[Path]:
    """The folders of joined features, each of one encoder and one list of posts."""
    return [path for path in entries(cache / JOINED) if path.is_dir() and not path.name.startswith(".")]


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in entries(folder))
