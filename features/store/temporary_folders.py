"""Folders in the system's temporary directory; those of killed processes are deleted by the next one."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX, LOCK = "msa-", "in-use.lock"
FRESH_SECONDS = 60.0  # in which a new folder may not be locked yet


class TemporaryFolder(tempfile.TemporaryDirectory[str]):
    """As `tempfile.TemporaryDirectory`, and locked while its process lives."""

    def __init__(self) -> None:
        super().__init__(prefix=PREFIX)
        _remove_abandoned(Path(self.name).stat().st_uid)
        self.lock = FileLock(Path(self.name, LOCK))
        with suppress(OSError, NotImplementedError):  # a file system without locks: then nothing is abandoned
            self.lock.acquire(timeout=0)

    def cleanup(self) -> None:
        """Delete the folder and give up its lock."""
        self.lock.release()
        super().cleanup()


def _remove_abandoned(user: int) -> None:
    """Delete this user's folders whose process has ended without doing so."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError, NotImplementedError, Timeout):
            if lock.parent.lstat().st_uid == user and time.time() - lock.stat().st_mtime > FRESH_SECONDS:
                with FileLock(lock, timeout=0):
                    shutil.rmtree(lock.parent, ignore_errors=True)
