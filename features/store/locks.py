"""Locks and flushes as far as a file system has them; without them work goes on, and one line says so."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from ..messages import notify

# what a file system that lacks an operation answers, a network's or a FUSE one above all
LACKING = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK, errno.ENOTTY}

_warned: set[str] = set()


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a lock file, after other processes that do; where the file system has no locks, go on without.

    Raises ValueError where something else has its name.
    """
    _require_own(path)
    if _lacks_flock(path):
        _warn_once(path.parent, "locks", "run one command at a time there")
        yield
        return
    with FileLock(path):
        yield


def flush(handle: int, folder: Path) -> None:
    """fsync an open file or folder in `folder`; where the file system cannot, go on without."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in LACKING:
            raise
        _warn_once(folder, "fsync", "a power failure may lose what was just written")


def _require_own(path: Path) -> None:
    """Refuse a link above all: it may lead in a circle, or to a file that others need."""
    with suppress(OSError):  # absent, or what opening it says better
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError(
                f"{path}: a lock must be a regular file, not a link, folder, pipe or device; delete it, or move it "
                "elsewhere, and run the command again"
            )


def _lacks_flock(path: Path) -> bool:
    """Asked here, as filelock waits for ever, or raises, where flock is refused for another reason than a holder."""
    try:
        import fcntl
    except ImportError:  # Windows has other locks
        return False
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:  # another user's
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in LACKING
    finally:
        os.close(handle)
    return False


def _warn_once(folder: Path, what: str, consequence: str) -> None:
    if what not in _warned:
        _warned.add(what)
        notify(f"{folder}: this file system has no {what}; {consequence}")
