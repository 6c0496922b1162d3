"""Refuses what is no regular file before it is opened: a pipe may never end, and opening a device can act on it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def regular(path: Path) -> Path:
    """The path itself. Raises ValueError where it leads to a folder, a pipe, a device or in a circle.

    OSError where there is nothing, or where it may not be looked at.
    """
    try:
        refuse_special(path.stat())
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError("it is a link that leads to itself") from error
        raise
    return path


def refuse_special(found: os.stat_result) -> None:
    """Raise ValueError unless this is the state of a regular file."""
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device, a pipe or a socket"
        raise ValueError(f"it is {kind}, not a regular file")
