"""Files that are either whole or absent after a crash: written beside, fsynced, renamed, folder fsynced."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

ABANDONED_AFTER_SECONDS = 3600.0


def temporary(folder: Path) -> Path:
    """A new name in `folder` for a file still being written; no reader looks at it."""
    return folder / f".{os.getpid()}-{secrets.token_hex(6)}.tmp"


def publish(temp: Path, final: Path) -> None:
    """Make a finished temporary file durable under its final name, atomically."""
    with temp.open("rb+") as file:
        os.fsync(file.fileno())
    temp.replace(final)
    sync_folder(final.parent)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; a crash leaves the old file or the new one, never a mixture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = temporary(path.parent)
    try:
        temp.write_bytes(content)
        publish(temp, path)
    finally:
        temp.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename survives power loss (a no-op where folders cannot be opened)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_temporaries(folder: Path) -> None:
    """Delete temporary files that a killed process left more than an hour ago."""
    horizon = time.time() - ABANDONED_AFTER_SECONDS
    for temp in folder.glob(".*.tmp"):
        try:
            if temp.stat().st_mtime < horizon:
                temp.unlink()
        except FileNotFoundError:
            continue
