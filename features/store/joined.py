"""The folder of a cache that holds features joined to the posts of a data set: copies, which can be made again."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from .durable import entries, rename

JOINED = "joined"


def joined_folders(cache: Path) -> list[Path]:
    """The folders of joined features, each of one encoder and one list of posts."""
    return [path for path in entries(cache / JOINED) if path.is_dir() and not path.name.startswith(".")]


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in entries(folder))


def remove_folder(folder: Path) -> None:
    """Delete a folder of joined features; a process that has them mapped keeps them until it ends."""
    gone = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}.tmp")
    rename(folder, gone)  # never seen with some of its files
    shutil.rmtree(gone, ignore_errors=True)
