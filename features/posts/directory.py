"""The files of one directory, listed once, and found by name or under another spelling of it."""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"),
    *(".jfif", ".heic", ".heif", ".jp2", ".svg"),  # of some, `msa check` says that they are not read
)
TEXT_SUFFIXES = (".txt",)
KNOWN_SUFFIXES = {*IMAGE_SUFFIXES, *TEXT_SUFFIXES}
ABSENT = {errno.ENOENT, errno.ENOTDIR}  # any other error may hide files that are there
IMPOSSIBLE = {errno.ENAMETOOLONG, errno.EINVAL}  # no file can have such a name

_DECIMAL = re.compile(r"^([0-9]+)\.0+$")


class Directory:
    """The names of the files and folders in one directory; those that macOS leaves in zip files are not data."""

    def __init__(self, path: Path, entries: Iterable[os.DirEntry[str]]) -> None:
        self.path = path
        self.files: dict[tuple[str, str], list[str]] = {}  # (stem, lower-case suffix) -> names
        self.folders: dict[str, list[str]] = {}  # what spellings of a name have in common -> names
        for entry in sorted(entries, key=lambda entry: entry.name):
            if is_leftover(entry.name):
                continue
            if _is_file(entry):
                name = PurePosixPath(entry.name)
                self.files.setdefault((name.stem, name.suffix.lower()), []).append(entry.name)
            else:
                self.folders.setdefault(_common(entry.name), []).append(entry.name)

    def find(self, name: str) -> str | None:
        """The file `name`, else one with its extension in another case, else the only image of another spelling."""
        path = PurePosixPath(name)
        spelled = self.files.get((path.stem, path.suffix.lower()), [])
        if name in spelled:
            return name
        found = spelled[:1] or self.alike(name, IMAGE_SUFFIXES)
        return found[0] if len(found) == 1 else None

    def alike(self, name: str, suffixes: tuple[str, ...]) -> list[str]:
        """Files with one of `suffixes` whose name differs from `name` in its suffix or as `_common` says."""
        stem, dot, suffix = name.rpartition(".")
        if not stem or dot + suffix.lower() not in KNOWN_SUFFIXES:
            stem = name
        return [own for own, suffix in self._spellings.get(_common(stem), ()) if suffix in suffixes]

    def folders_alike(self, name: str) -> list[str]:
        """Folders whose name differs from `name` in its case or Unicode form."""
        return self.folders.get(_common(name), [])

    @cached_property
    def _spellings(self) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for (stem, suffix), names in self.files.items():
            found.setdefault(_common(stem), []).extend((name, suffix) for name in names)
        return found


def list_directory(path: Path) -> Directory | None:
    """The directory; None where there is none. Raises OSError where it cannot be listed, ValueError for its name."""
    try:
        with os.scandir(path) as entries:
            return Directory(path, entries)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        reason = error.strerror or str(error)
        if error.errno in IMPOSSIBLE:
            raise ValueError(f"{str(path)!r}: {reason}") from error
        raise OSError(f"cannot list {path}: {reason}; mend it, or its files would count as missing") from error


def is_file(path: Path) -> bool:
    """Whether it is a file or a link to one. Raises OSError where that cannot be known, as in a loop of links."""
    return stat.S_ISREG(_mode(path))


def is_folder(path: Path) -> bool:
    """The same of a folder."""
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        if error.errno in ABSENT:
            return 0
        raise


def absolute(path: Path) -> Path:
    """The path without `..`, and its links as they are."""
    return Path(os.path.normpath(path.absolute()))


def is_leftover(name: str) -> bool:
    """Whether macOS left this file or folder beside the data."""
    return name.startswith("._") or name in {".DS_Store", "__MACOSX"}


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # it is there, and reading it will say what is wrong
        return True


def _common(name: str) -> str:
    """What all spellings of a name have in common; `12.0` is what pandas makes of 12, `%20` a URL of a space."""
    if "%" in name:
        name = unquote(name)
    if not name.isascii():
        name = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return _DECIMAL.sub(r"\1", name.casefold())
