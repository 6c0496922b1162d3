"""Crash-safe files and folders, either whole or absent: written to a temporary name, fsynced and renamed."""

from __future__ import annotations

import glob
import math
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO

from .locks import flush

STALE_SECONDS = 3600.0
TOUCH_SECONDS = 60.0
PROBE_BYTES = 1 << 16
WINDOWS = sys.platform == "win32"
RENAMES, RENAME_SECONDS = 50, 0.1  # tries and the time between two, where a file may be open


def temporary(folder: Path) -> Path:
    """A new name in `folder` for a file that is still being written; readers ignore it."""
    return folder / f".{os.getpid()}-{secrets.token_hex(6)}.tmp"


def publish(temp: Path, final: Path) -> None:
    """Make a finished temporary file durable under its final name, atomically."""
    with naming(final):
        with temp.open("rb+") as file:
            flush(file.fileno(), final.parent)
        rename(temp, final)
        sync_folder(final.parent)


def rename(temp: Path, final: Path) -> None:
    """Rename a file over another, or a folder. Windows refuses it while a program, as a virus scanner, has it open."""
    for _ in range(RENAMES if WINDOWS else 0):
        with suppress(PermissionError):
            temp.replace(final)
            return
        time.sleep(RENAME_SECONDS)
    temp.replace(final)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; a crash leaves the old file or the new one, never a mixture."""
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which replaces `path` at the end of the block as `write_atomic` does."""
    make_folder(path.parent)
    temp = temporary(path.parent)
    try:
        with naming(path), temp.open("wb") as file:
            yield file
        publish(temp, path)
    finally:
        temp.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents so that they survive power loss, as the files published in them do."""
    missing = [above for above in (folder, *folder.parents) if not above.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted; nothing where it is absent. `Path.glob` finds nothing where it may not look, too."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(above for above in (folder.absolute(), *folder.absolute().parents) if above.exists())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the name of the file to an I/O error; the system leaves it out for a file that was open already."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder, renamed at the end to `path`, which is absent or empty; an error leaves nothing of it."""
    remove_stale_temporaries(path.parent, f".{glob.escape(path.name)}-*.tmp")
    temp = path.parent / f".{path.name}-{secrets.token_hex(4)}.tmp"
    temp.mkdir(parents=True)
    try:
        yield temp
        if path.exists():
            path.rmdir()
        rename(temp, path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


class Sink:
    """The file that HDF5 writes. It hides the disk's first error from HDF5 until `check` raises it.

    HDF5 cannot close a file that it failed to write: its errors hide the disk's, and the process crashes at exit.
    """

    def __init__(self, raw: RawIOBase) -> None:
        self.raw = raw
        self.error: OSError | None = None
        self.seek, self.tell, self.flush = raw.seek, raw.tell, raw.flush
        self.read, self.readinto = raw.read, raw.readinto

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it; a disk that is nearly full accepts only a piece at first."""
        rest = memoryview(data)
        try:
            while rest and self.error is None:
                rest = rest[self.raw.write(rest) :]
        except OSError as error:
            self.error = error

    def truncate(self, size: int) -> None:
        """Cut the file; an error is kept for `check`."""
        try:
            self.raw.truncate(size)
        except OSError as error:
            self.error = self.error or error

    def check(self) -> None:
        """Raise the disk's first error, if there was one."""
        if self.error is not None:
            raise self.error


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename survives power loss (a no-op where folders cannot be opened)."""
    if WINDOWS:
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        flush(handle, folder)
    finally:
        os.close(handle)


def remove_stale_temporaries(folder: Path, pattern: str = ".*.tmp") -> bool:
    """Delete temporary files and folders that a killed process left more than an hour ago; whether there are others."""
    horizon, fresh = time.time() - STALE_SECONDS, False
    for temp in folder.glob(pattern):
        with suppress(FileNotFoundError):
            if temp.stat().st_mtime >= horizon:
                fresh = True
            elif temp.is_dir():
                shutil.rmtree(temp, ignore_errors=True)
            else:
                temp.unlink()
    return fresh


@contextmanager
def in_use(folders: Iterable[Path]) -> Iterator[Callable[[], None]]:
    """Keep folders from being removed as unused before anything is published in them, by a temporary file in each.

    Call the result as work goes on, at least once an hour. A folder that cannot be written to is left alone: it may
    only have to be read.
    """
    marks = [temporary(folder) for folder in folders]
    touched = -math.inf

    def touch() -> None:
        nonlocal touched
        if time.monotonic() - touched < TOUCH_SECONDS:
            return
        touched = time.monotonic()
        for mark in marks:
            with suppress(OSError):
                mark.touch()

    try:
        touch()
        yield touch
    finally:
        for mark in marks:
            with suppress(OSError):
                mark.unlink(missing_ok=True)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an error of the disk into a ValueError with what can be done about it."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{folder}: cannot be written to ({error.strerror or error}); see to its disk and its permissions, or give "
            "another folder with --cache"
        ) from error


def require_writable(folder: Path, size: int) -> None:
    """Raise ValueError for a folder that cannot be written to, or whose disk has less than `size` bytes free."""
    probe = temporary(folder)
    try:
        with writing(folder):
            free = shutil.disk_usage(folder).free
            with probe.open("wb") as file:
                file.write(bytes(PROBE_BYTES))
                flush(file.fileno(), folder)
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    if free < size:
        raise ValueError(
            f"{folder}: at least {size / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB are free; free some space, or "
            "give another folder with --cache"
        )
